//! Which container of a pod is meant, and by which of the kubelet's paths it is reached.

use api::{Status, Value};
use form_urlencoded::{Serializer, parse};

fn names<'a>(pod: &'a Value, key: &str) -> Vec<&'a str> {
    let list = pod.pointer(&format!("/spec/{key}")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
}

/// `validateContainer`: the one that is asked for, or the only one.
pub fn choose(pod: &Value, name: &str, asked: &str) -> Result<String, Status> {
    let (containers, init, ephemeral) =
        (names(pod, "containers"), names(pod, "initContainers"), names(pod, "ephemeralContainers"));
    if !asked.is_empty() {
        return match containers.iter().chain(&init).chain(&ephemeral).any(|c| *c == asked) {
            true => Ok(asked.to_owned()),
            false => Err(Status::bad_request(format!("container {asked} is not valid for pod {name}"))),
        };
    }
    match containers.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        many => {
            let mut why =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", many.join(" "));
            if !init.is_empty() {
                why += &format!(" or one of the init containers: [{}]", init.join(" "));
            }
            if !ephemeral.is_empty() {
                why += &format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" "));
            }
            Err(Status::bad_request(why))
        }
    }
}

/// The value of a query parameter; empty if there is none.
pub fn parameter(query: &str, key: &str) -> String {
    parse(query.as_bytes()).find(|(k, _)| k == key).map_or(String::new(), |(_, v)| v.into_owned())
}

/// What of a log request goes on to the kubelet.
pub fn log_query(query: &str) -> String {
    const PASSED: [&str; 8] =
        ["follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"];
    let mut out = Serializer::new(String::new());
    out.extend_pairs(parse(query.as_bytes()).filter(|(k, v)| PASSED.contains(&&**k) && !v.is_empty()));
    out.finish()
}

/// `streamParams`: the kubelet's names for what exec and attach ask, in its own words.
pub fn stream_query(query: &str) -> String {
    let mut out = Serializer::new(String::new());
    for (key, value) in parse(query.as_bytes()) {
        let on = !matches!(&*value, "" | "false" | "0");
        match &*key {
            "stdin" if on => out.append_pair("input", "1"),
            "stdout" if on => out.append_pair("output", "1"),
            "stderr" if on => out.append_pair("error", "1"),
            "tty" if on => out.append_pair("tty", "1"),
            "command" => out.append_pair("command", &value),
            _ => continue,
        };
    }
    out.finish()
}

/// The query that asks for what the options of a connection say: `PodExecOptions` and its like, as a webhook left them.
pub fn query_of(options: &Value) -> String {
    let mut out = Serializer::new(String::new());
    for key in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|k| options[*k] == true) {
        out.append_pair(key, "true");
    }
    if let Some(container) = options["container"].as_str() {
        out.append_pair("container", container);
    }
    for word in options["command"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        out.append_pair("command", word);
    }
    for port in options["ports"].as_array().into_iter().flatten() {
        out.append_pair("ports", &port.to_string());
    }
    out.finish()
}

/// The ports of a port-forward, which a WebSocket client names in the query: comma-separated or repeated.
pub fn port_query(query: &str) -> String {
    let ports: Vec<String> =
        parse(query.as_bytes()).filter(|(k, _)| k == "ports").map(|(_, v)| v.into_owned()).collect();
    if ports.is_empty() {
        return String::new();
    }
    Serializer::new(String::new()).append_pair("port", &ports.join(",")).finish()
}

/// `ValidatePodLogOptions`
pub fn check_log_query(query: &str) -> Vec<api::field::Error> {
    use api::field::{Error, Path};
    let mut errors = Vec::new();
    let number = |key: &str| parameter(query, key).parse::<i64>().ok();
    for (key, least, why) in [
        ("sinceSeconds", 1, "must be greater than 0"),
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
    ] {
        if let Some(n) = number(key).filter(|n| *n < least) {
            errors.push(Error::invalid(&Path::root(key), n, why));
        }
    }
    if number("sinceSeconds").is_some() && !parameter(query, "sinceTime").is_empty() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(Error::forbidden(&Path::root(""), why));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_chosen_or_must_be() {
        let one = json!({"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}});
        let two = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(choose(&one, "x", "").unwrap(), "a");
        assert_eq!(choose(&one, "x", "i").unwrap(), "i");
        for (pod, asked, why) in [
            (&one, "z", "container z is not valid for pod x"),
            (
                &two,
                "",
                "a container name must be specified for pod x, choose one of: [a b] or one of the init containers: [i]",
            ),
        ] {
            let e = choose(pod, "x", asked).unwrap_err();
            assert_eq!((e.code, e.message.as_str()), (400, why));
        }
    }

    #[test]
    fn queries_are_put_in_the_kubelets_words() {
        let exec = "command=sh&command=-c&command=echo+%26&stdin=true&stdout=1&stderr=false&tty=true&container=c";
        assert_eq!(stream_query(exec), "command=sh&command=-c&command=echo+%26&input=1&output=1&tty=1");
        assert_eq!(log_query("follow=true&container=c&tailLines=5&pretty=1"), "follow=true&tailLines=5");
        assert_eq!(port_query("ports=80&ports=81"), "port=80%2C81");
        assert_eq!(port_query(""), "");
        let options = serde_json::json!({"kind": "PodExecOptions", "command": ["sh", "-c", "a b"], "stdin": true, "tty": false,
            "container": "c", "ports": [80, 81]});
        let query = "stdin=true&container=c&command=sh&command=-c&command=a+b&ports=80&ports=81";
        assert_eq!(query_of(&options), query);
        assert_eq!(check_log_query("tailLines=-1").len(), 1);
        assert_eq!(check_log_query("sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z").len(), 1);
        assert!(check_log_query("tailLines=0&sinceSeconds=1").is_empty());
    }
}

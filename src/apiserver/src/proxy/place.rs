//! Where a proxied request goes: the `[scheme:]name[:port]` of its URL, and what pods and services make of it.

use std::net::{IpAddr, SocketAddr};

use api::{Object, Reason, Status, Value};
use std::sync::Arc;

/// `SplitSchemeNamePort`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub https: bool,
    pub name: String,
    /// A number or a name; may be empty.
    pub port: String,
}

impl Reference {
    /// `None` for what has another form.
    pub fn parse(text: &str) -> Option<Reference> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let https = match scheme {
            "" | "http" => false,
            "https" => true,
            _ => return None,
        };
        (!name.is_empty()).then(|| Reference { https, name: name.into(), port: port.into() })
    }
}

/// A place to send HTTP to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub https: bool,
    pub address: SocketAddr,
}

fn unavailable(why: String) -> Status {
    Status::new(Reason::ServiceUnavailable, why)
}

fn proxyable(ip: &str) -> Result<IpAddr, Status> {
    match ip.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() => {
            Err(Status::bad_request("address not allowed"))
        }
        Ok(ip) => Ok(ip),
        Err(_) => Err(Status::bad_request("address not allowed")),
    }
}

fn list<'a>(v: &'a Value, pointer: &str) -> &'a [Value] {
    v.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Of a pod: the port that is asked for, else its first.
pub fn pod(reference: &Reference, pod: &Value) -> Result<Place, Status> {
    let name = &reference.name;
    let ip = pod.pointer("/status/podIP").and_then(Value::as_str).unwrap_or_default();
    if ip.is_empty() {
        return Err(unavailable(format!("no pod IP assigned to pod {name:?}")));
    }
    let ports = || list(pod, "/spec/containers").iter().flat_map(|c| list(c, "/ports"));
    let port = match reference.port.as_str() {
        "" => ports().find_map(|p| p["containerPort"].as_u64()).unwrap_or(if reference.https { 443 } else { 80 }),
        asked => match asked.parse() {
            Ok(port) => port,
            Err(_) => ports()
                .find(|p| p["name"] == asked)
                .and_then(|p| p["containerPort"].as_u64())
                .ok_or_else(|| Status::bad_request(format!("invalid pod request {name:?}")))?,
        },
    };
    let port = u16::try_from(port).map_err(|_| Status::bad_request(format!("invalid pod request {name:?}")))?;
    Ok(Place { https: reference.https, address: (proxyable(ip)?, port).into() })
}

/// Of a service: any of its ready endpoints, at the port that is asked for by number or name, else its only one.
/// `pick` chooses one of so many.
pub fn service(
    reference: &Reference,
    service: &Value,
    slices: &[Arc<Object>],
    pick: impl Fn(usize) -> usize,
) -> Result<Place, Status> {
    let name = &reference.name;
    let ports = list(service, "/spec/ports");
    let port_name = |p: &Value| p["name"].as_str().unwrap_or_default().to_owned();
    let wanted = match reference.port.as_str() {
        "" => ports.first().map(port_name).unwrap_or_default(),
        asked => match asked.parse::<u64>() {
            Ok(number) => ports
                .iter()
                .find(|p| p["port"] == number)
                .map(port_name)
                .ok_or_else(|| unavailable(format!("no service port {number} found for service {name:?}")))?,
            Err(_) => asked.to_owned(),
        },
    };
    let mut ready = Vec::new();
    for slice in slices.iter().map(|s| s.tree()) {
        let port = list(&slice, "/ports").iter().find(|p| p["name"].as_str().unwrap_or_default() == wanted);
        let Some(port) = port.and_then(|p| p["port"].as_u64()).and_then(|p| u16::try_from(p).ok()) else { continue };
        for endpoint in list(&slice, "/endpoints").iter().filter(|e| e["conditions"]["ready"] != false) {
            ready.extend(list(endpoint, "/addresses").iter().filter_map(|a| Some((a.as_str()?.to_owned(), port))));
        }
    }
    if ready.is_empty() {
        return Err(unavailable(format!("no endpoints available for service {name:?}")));
    }
    let (ip, port) = &ready[pick(ready.len()) % ready.len()];
    Ok(Place { https: reference.https, address: (proxyable(ip)?, *port).into() })
}

#[cfg(test)]
mod tests {
    use api::Draft;
    use serde_json::json;

    use super::*;

    fn reference(text: &str) -> Reference {
        Reference::parse(text).unwrap()
    }

    #[test]
    fn references_have_three_forms() {
        let r = |https, name: &str, port: &str| Some(Reference { https, name: name.into(), port: port.into() });
        for (text, want) in [
            ("a", r(false, "a", "")),
            ("a:80", r(false, "a", "80")),
            ("https:a:web", r(true, "a", "web")),
            ("http:a:", r(false, "a", "")),
            ("ftp:a:1", None),
            ("a:b:c:d", None),
            (":80", None),
        ] {
            assert_eq!(Reference::parse(text), want, "{text}");
        }
    }

    #[test]
    fn a_pod_is_reached_at_its_address() {
        let tree = json!({"spec": {"containers": [{}, {"ports": [{"containerPort": 8080, "name": "web"}]}]},
            "status": {"podIP": "10.42.0.7"}});
        for (text, address) in [("p", "10.42.0.7:8080"), ("p:99", "10.42.0.7:99"), ("p:web", "10.42.0.7:8080")] {
            assert_eq!(pod(&reference(text), &tree).unwrap().address.to_string(), address);
        }
        assert!(pod(&reference("p:none"), &tree).is_err());
        assert!(pod(&reference("p"), &json!({"status": {"podIP": "127.0.0.1"}})).is_err());
    }

    #[test]
    fn a_service_is_reached_at_a_ready_endpoint() {
        let svc = json!({"spec": {"ports": [{"name": "http", "port": 80}, {"name": "tls", "port": 443}]}});
        let slice = json!({"metadata": {"name": "s"}, "ports": [{"name": "http", "port": 8080}, {"name": "tls", "port": 8443}],
            "endpoints": [{"addresses": ["10.42.0.1"], "conditions": {"ready": false}}, {"addresses": ["10.42.0.2"]}]});
        let slices = [Arc::new(Draft::encode(&slice).unwrap().at(1))];
        for (text, want) in [
            ("s", Ok("10.42.0.2:8080")),
            ("s:443", Ok("10.42.0.2:8443")),
            ("https:s:tls", Ok("10.42.0.2:8443")),
            ("s:81", Err("no service port 81 found for service \"s\"")),
            ("s:none", Err("no endpoints available for service \"s\"")),
        ] {
            let got = service(&reference(text), &svc, &slices, |_| 0);
            let got = got.map(|p| p.address.to_string()).map_err(|e| e.message);
            assert_eq!(got.as_deref().map_err(String::as_str), want, "{text}");
        }
    }
}

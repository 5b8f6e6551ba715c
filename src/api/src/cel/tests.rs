use serde_json::json;

use super::*;
use crate::crd::Structural;

fn run(text: &str) -> String {
    let program = Program::parse(text).unwrap_or_else(|e| panic!("{e}"));
    match program.evaluate(&[("x", Value::Int(1))], &mut Budget::new(CALL_LIMIT)) {
        Ok(v) => v.to_json().to_string(),
        Err(Failure::Error(e)) => e,
        Err(Failure::Cost) => "cost".into(),
    }
}

#[test]
fn expressions_have_values() {
    for (text, want) in [
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("1.5 * 2.0", "3.0"),
        ("'a' + \"b\" == 'ab' && b'a' == b'a'", "true"),
        ("2u + 3u", "5"),
        ("1 == 1.0 && 1 < 2.5", "true"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("1 / 0", "divide by zero"),
        ("[1, 2, 3].all(i, i > 0) && [1, 2].exists(i, i == 2) && ![1, 1].exists_one(i, i == 1)", "true"),
        ("[1, 2, 3].filter(i, i > 1).map(i, i * 2)", "[4,6]"),
        ("[1, 2, 3].map(i, i > 1, i * 2)", "[4,6]"),
        ("{'a': 1, 'b': 2}.exists(k, k == 'b')", "true"),
        ("{'a': 1}.all(k, v, k == 'a' && v == 1) && [5].all(i, v, i == 0 && v == 5)", "true"),
        ("{'a': 1}['a'] + {'b': 2}.b", "3"),
        ("{'a': 1}['b']", "no such key: b"),
        ("[1][2]", "index out of bounds: 2"),
        ("has({'a': 1}.a) && !has({'a': 1}.b)", "true"),
        ("1 / 0 == 1 || true", "true"),
        ("false && 1 / 0 == 1", "false"),
        ("x > 0 ? 'yes' : 'no'", "\"yes\""),
        ("1 in [1, 2] && 'a' in {'a': 1}", "true"),
        ("{'a': 1}[?'b'].orValue(5) + {'a': 1}.?a.value()", "6"),
        ("optional.of(1).optMap(y, y + 1).value() + optional.none().orValue(1)", "3"),
        ("[?optional.none(), 1].size()", "1"),
        ("cel.bind(y, x + 1, y * y)", "4"),
        ("size('héllo') + 'abc'.size()", "8"),
        ("'Hello'.lowerAscii().startsWith('he') && 'abc'.contains('b') && 'abc'.endsWith('c')", "true"),
        ("'a,b,c'.split(',').join('-')", "\"a-b-c\""),
        ("'abcabc'.indexOf('c') + 'abcabc'.lastIndexOf('c')", "7"),
        (
            "'abc'.substring(1) + 'abc'.charAt(0) + 'abc'.substring(0, 1) + ' x '.trim() + 'aa'.replace('a', 'b', 1)",
            "\"bcaaxba\"",
        ),
        ("'%s is %d and %.1f of %s'.format(['a', 3, 0.25, [1, 'b']])", "\"a is 3 and 0.2 of [1, b]\""),
        ("'abc123'.find('[0-9]+') + ['a1', 'b'].map(s, s.matches('[0-9]'))[0].format([])", "no such overload"),
        ("'a1b2'.findAll('[0-9]')", "[\"1\",\"2\"]"),
        ("[3, 1, 2].isSorted() || [1, 2].sum() == 3 && [1, 5].max() == 5 && [1, 5].min() == 1", "true"),
        ("int('5') + int(5.9) + int(2u)", "12"),
        ("string(5) + string(true) + string(1.5)", "\"5true1.5\""),
        ("type(1) == int && type('a') == string", "true"),
        ("timestamp('2023-01-02T03:04:05Z').getFullYear()", "2023"),
        ("timestamp('2023-01-02T00:00:00Z') - timestamp('2023-01-01T00:00:00Z') == duration('24h')", "true"),
        ("duration('90s') > duration('1m') && duration('90m').getHours() == 1", "true"),
        (
            "quantity('1Gi').isGreaterThan(quantity('500Mi')) && quantity('1500m').add(quantity('500m')).asInteger() == 2",
            "true",
        ),
        ("isQuantity('x') || isURL('nope') || isIP('1.2.3') || isCIDR('1.2.3.4') || isSemver('1.x')", "false"),
        (
            "url('https://example.com:80/a?b=c').getHostname() + url('https://example.com:80/a').getPort()",
            "\"example.com80\"",
        ),
        ("url('https://e.com/p?k=v').getQuery()['k'][0] + url('https://e.com/p').getEscapedPath()", "\"v/p\""),
        ("ip('10.0.0.1').family() == 4 && ip('::1').isLoopback() && ip.isCanonical('::1')", "true"),
        (
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16')) && cidr('10.1.0.0/8').masked() == cidr('10.0.0.0/8')",
            "true",
        ),
        (
            "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.0', true).major() == 1 && semver('1.0.0-a').isLessThan(semver('1.0.0'))",
            "true",
        ),
        (
            "format.named('dns1123Label').value().validate('Bad').hasValue() && !format.named('dns1123Label').value().validate('ok').hasValue()",
            "true",
        ),
        ("sets.contains([1, 2], [1]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])", "true"),
        ("math.greatest(1, 3, 2) + math.least([4, 5])", "7"),
        ("dyn('a') < 1", "no such overload"),
        ("[1, 2].all(i, i > 1 || 1 / 0 == 0)", "divide by zero"),
    ] {
        assert_eq!(run(text), want, "{text}");
    }
}

#[test]
fn costs_are_bounded() {
    let text = "[0,1,2,3,4,5,6,7,8,9].all(a, [0,1,2,3,4,5,6,7,8,9].all(b, [0,1,2,3,4,5,6,7,8,9].all(c, [0,1,2,3,4,5,6,7,8,9].all(d, [0,1,2,3,4,5,6,7,8,9].all(e, a + b + c + d + e >= 0)))))";
    assert_eq!(run(text), "cost");
}

fn errors(schema: serde_json::Value) -> Vec<String> {
    let parsed = Structural::parse(&schema);
    let mut out = Vec::new();
    check_schema(&schema, &parsed, &crate::field::Path::root("s"), &mut out);
    out.iter().map(ToString::to_string).collect()
}

#[test]
fn rules_that_do_not_fit_their_schema_are_refused() {
    let with = |rule: serde_json::Value| {
        json!({"type": "object", "x-kubernetes-validations": [rule], "properties": {
            "n": {"type": "integer"}, "s": {"type": "string"}, "dash-ed": {"type": "string"}, "namespace": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
            "ios": {"x-kubernetes-int-or-string": true},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}}}})
    };
    for good in [
        "self.n > 1 && self.s.startsWith('a') && self.dash__dash__ed != '' && self.__namespace__ == 'x'",
        "has(self.n) && self.list.all(l, l.k != '')",
        "self.map.all(k, self.map[k] > 0) && 'a' in self.map",
        "self.metadata.name == 'x' && self.kind != ''",
        "type(self.ios) == int ? self.ios > 1 : self.ios.contains('%')",
        "self.?s.orValue('') != 'x'",
        "oldSelf.n <= self.n",
    ] {
        assert_eq!(errors(with(json!({"rule": good}))), Vec::<String>::new(), "{good}");
    }
    for (rule, want) in [
        (
            json!({"rule": "self.nope == 1"}),
            "s.x-kubernetes-validations[0].rule: Invalid value: \"self.nope == 1\": compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope == 1\n | ....^",
        ),
        (json!({"rule": "slef.n == 1"}), "undeclared reference to 'slef' (in container '')"),
        (json!({"rule": "self.n == 'a'"}), "found no matching overload for '_==_' applied to '(int, string)'"),
        (json!({"rule": "self.n"}), "compilation failed: cel expression must evaluate to a bool"),
        (json!({"rule": "self.s.foo()"}), "undeclared reference to 'foo'"),
        (json!({"rule": "self.metadata.labels.size() > 0"}), "undefined field 'labels'"),
        (json!({"rule": "1 +"}), "Syntax error: mismatched input <EOF>"),
        (json!({"rule": ""}), "Required value: rule is not specified"),
        (json!({"rule": "true", "messageExpression": "self.n"}), "messageExpression must evaluate to a string"),
        (json!({"rule": "true", "reason": "x"}), "Unsupported value: \"x\": supported values: "),
        (json!({"rule": "true", "fieldPath": ".nope"}), "does not refer to a valid field"),
        (
            json!({"rule": "self.list.all(a, self.list.all(b, a.k != b.k))"}),
            "Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try",
        ),
    ] {
        let got = errors(with(rule.clone()));
        assert!(!got.is_empty() && got[0].contains(want), "{rule}: {got:?}");
    }
    let inner = json!({"type": "object", "properties": {"l": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 5,
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}});
    assert!(errors(inner)[0].contains("oldSelf cannot be used on the uncorrelatable portion"));
}

#[test]
fn rules_are_held_against_objects() {
    let schema = Structural::parse(&json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "message": "min must not exceed max"},
            {"rule": "self.max < 100", "messageExpression": "'max is ' + string(self.max)"},
            {"rule": "self.frozen == oldSelf.frozen", "reason": "FieldValueForbidden", "fieldPath": ".frozen"},
            {"rule": "oldSelf.hasValue() || self.min == 0", "optionalOldSelf": true}],
        "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "frozen": {"type": "string"},
            "when": {"type": "string", "format": "date-time", "x-kubernetes-validations": [{"rule": "self > timestamp('2020-01-01T00:00:00Z')"}]},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object",
                "x-kubernetes-validations": [{"rule": "self.port >= oldSelf.port"}],
                "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}}}}}}));
    let check = |new: serde_json::Value, old: Option<serde_json::Value>| -> Vec<String> {
        let wrap = |v| json!({ "spec": v });
        validate(&schema, &wrap(new), old.map(wrap).as_ref()).iter().map(ToString::to_string).collect()
    };
    let ok = json!({"min": 0, "max": 2, "frozen": "a"});
    assert_eq!(check(ok.clone(), None), Vec::<String>::new());
    assert_eq!(
        check(json!({"min": 0, "max": -1}), None),
        [r#"spec: Invalid value: "object": min must not exceed max"#]
    );
    assert_eq!(check(json!({"min": 0, "max": 200}), None), [r#"spec: Invalid value: "object": max is 200"#]);
    assert_eq!(
        check(json!({"min": 1, "max": 2}), None),
        [r#"spec: Invalid value: "object": failed rule: oldSelf.hasValue() || self.min == 0"#]
    );
    let mut thawed = ok.clone();
    thawed["frozen"] = json!("b");
    assert_eq!(check(thawed, Some(ok.clone())), ["spec.frozen: Forbidden: failed rule: self.frozen == oldSelf.frozen"]);
    assert_eq!(check(json!({"min": 0, "max": 2, "when": "2019-01-01T00:00:00Z"}), None).len(), 1);
    assert_eq!(
        check(json!({"max": 2}), None)[0],
        r#"spec: Invalid value: "object": no such key: min evaluating rule: min must not exceed max"#
    );
    let bad = json!({"min": 5, "max": 2, "frozen": "a"});
    assert_eq!(check(bad.clone(), Some(bad)), Vec::<String>::new(), "what does not change may stay");
    let ports = |n: i64, p: i64| json!({"min": 0, "max": n, "frozen": "a", "ports": [{"name": "x", "port": 1}, {"name": "a", "port": p}]});
    assert_eq!(
        check(ports(1, 4), Some(ports(2, 5))),
        [r#"spec.ports[1]: Invalid value: "object": failed rule: self.port >= oldSelf.port"#]
    );
}

#[test]
fn sets_and_maps_equal_in_any_order() {
    let schema = Structural::parse(&json!({"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": {"type": "string"}}}}}}));
    let (a, b) = (
        json!({"set": ["a", "b"], "map": [{"k": "1"}, {"k": "2"}]}),
        json!({"set": ["b", "a"], "map": [{"k": "2"}, {"k": "1"}]}),
    );
    let (a, b) = (Value::of(&a, Some(&schema)), Value::of(&b, Some(&schema)));
    let same = Program::parse("a == b").unwrap().evaluate(&[("a", a), ("b", b)], &mut Budget::new(1000)).unwrap();
    assert!(same.equals(&Value::Bool(true)));
}

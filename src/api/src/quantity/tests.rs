use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn clients_get_back_the_canonical_form() {
    let cases = [
        ("0", "0"),
        ("0Ki", "0"),
        ("-0", "0"),
        ("1", "1"),
        ("0.1", "100m"),
        ("1.5", "1500m"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("0.5Mi", "512Ki"),
        ("1536Ki", "1536Ki"),
        ("0.1Gi", "107374182400m"),
        ("1e3", "1e3"),
        ("1000e0", "1e3"),
        ("5e1", "50"),
        ("1E", "1E"),
        ("1000P", "1E"),
        ("12345k", "12345k"),
        ("0.0000000001", "1n"),
        ("-0.1", "-100m"),
        ("-1.5Gi", "-1536Mi"),
        ("1.500", "1.500"),
        ("+5", "+5"),
        (".5", "500m"),
        ("5.", "5."),
        ("1.", "1."),
        ("16Ei", "9223372036854775807"),
        ("500u", "500u"),
        ("0.001m", "1u"),
        ("100000000000000000000", "100E"),
        ("8Ki", "8Ki"),
        ("999Ti", "999Ti"),
    ];
    for (text, want) in cases {
        assert_eq!(canonical(text).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn errors_are_upstreams() {
    use ParseError::*;
    for (text, want) in [
        ("", Format),
        ("a", Format),
        ("1 Gi", Format),
        ("1Gib", Format),
        ("1Kim", Suffix),
        ("1mm", Suffix),
        ("1K", Suffix),
        ("1e", Suffix),
        ("--1", Suffix),
        ("1e5x", Format),
    ] {
        assert_eq!(Quantity::parse(text).unwrap_err(), want, "{text}");
    }
}

#[test]
fn values_round_away_from_zero() {
    let q = |t: &str| Quantity::parse(t).unwrap();
    assert_eq!((q("1.1").value(), q("-1.1").value(), q("100u").millis(), q("2").millis()), (2, -2, 1, 2000));
    assert_eq!((q("1Gi") + q("1Mi")).to_string(), "1025Mi");
    assert_eq!((Quantity::ZERO + q("1Gi") - q("1Mi")).to_string(), "1023Mi");
    assert!(q("1Gi") > q("1G") && q("1000m") == q("1"));
    assert_eq!(q("1e100").value(), i64::MAX);
    assert_eq!(Quantity::from_tree(&json!(0.5)).unwrap().to_string(), "500m");
    let mut list = json!({"cpu": "1u", "memory": "1Gi"});
    round_resource_list(&mut list);
    assert_eq!(list, json!({"cpu": "1m", "memory": "1Gi"}));
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "[-+]?[0-9.]{0,45}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,12}") {
        if let Ok(q) = Quantity::parse(&text) {
            let shown = q.to_string();
            prop_assert_eq!(Quantity::parse(&shown).unwrap().to_string(), shown);
        }
    }
}

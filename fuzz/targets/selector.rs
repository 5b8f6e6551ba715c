//! Label and field selectors: a selector's text is the selector.
#![no_main]

use std::collections::BTreeMap;

use api::fields::FieldSelector;
use api::labels::Selector;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(selector) = Selector::parse(text) {
        let shown = selector.to_string();
        // a set of nothing but the empty value is written as no set, in upstream as well
        if shown.contains(" ()") {
            return;
        }
        let again = Selector::parse(&shown).unwrap_or_else(|e| panic!("{shown}: {e}"));
        assert_eq!(again.to_string(), shown);
        let labels: BTreeMap<String, String> =
            [("a", "1"), ("b", ""), ("x/y", "z")].map(|(k, v)| (k.into(), v.into())).into();
        assert_eq!(again.matches(&labels), selector.matches(&labels), "{shown}");
    }
    let _ = FieldSelector::parse(text);
});

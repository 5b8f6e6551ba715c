//! Quantities: the canonical text is one, and of the same amount. A binary one that no suffix fits is shown in plain digits
//! (656.25Ki: 672000), which read again are a decimal one (672k), as upstream's.
#![no_main]

use api::quantity::{self, Quantity};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (Ok(shown), Ok(parsed)) = (quantity::canonical(text), Quantity::parse(text)) else { return };
    if !text.ends_with('i') {
        assert_eq!(quantity::canonical(&shown).as_deref(), Ok(shown.as_str()), "{text}");
    }
    let again = Quantity::parse(&shown).expect("a canonical text");
    assert_eq!(
        (again.nanos(), again.value(), again.millis()),
        (parsed.nanos(), parsed.value(), parsed.millis()),
        "{text}"
    );
    let _ = (parsed.round_up_millis().to_string(), parsed.times(3).to_string(), parsed.sign(), parsed.is_zero());
});

//! The one clock. Reconcilers take it as a value, so that tests run hours in milliseconds.

use jiff::{Timestamp, Unit};

pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// `metav1.Time` on the wire: RFC 3339, UTC, whole seconds.
pub fn now_rfc3339(clock: &dyn Clock) -> String {
    let whole = clock.now().round(Unit::Second).unwrap_or_else(|_| clock.now());
    let floor = if whole > clock.now() { whole - jiff::SignedDuration::from_secs(1) } else { whole };
    floor.to_string()
}

//! Amounts of resources: upstream's `resource.Quantity`, exact to a billionth, without floats.
//!
//! Amounts beyond ±1.7e29 saturate; upstream caps binary ones at 2^63-1 as well.

mod parse;

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Typed;
use serde_json::Value;

use parse::{BINARY, DECIMAL, div_up, split};

const NANO: i128 = 1_000_000_000;

/// How an amount is written: `resource.Format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    #[default]
    DecimalSi,
}

/// An amount with the format it was written in. Compared by amount alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// `ErrFormatWrong`, `ErrNumeric`, `ErrSuffix`, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    pub fn new(value: i64, format: Format) -> Quantity {
        Quantity { nanos: i128::from(value) * NANO, format }
    }
    pub fn from_millis(millis: i64, format: Format) -> Quantity {
        Quantity { nanos: i128::from(millis) * (NANO / 1000), format }
    }
    pub fn parse(text: &str) -> Result<Quantity, ParseError> {
        let parts = split(text)?;
        let nanos = parts.nanos()?;
        let below_one = parts.format == Format::BinarySi && (1..NANO).contains(&nanos);
        Ok(Quantity { nanos, format: if below_one { Format::DecimalSi } else { parts.format } })
    }
    /// From a tree: a string or, as clients may write, a number.
    pub fn from_tree(v: &Value) -> Result<Quantity, ParseError> {
        match v {
            Value::String(s) => Quantity::parse(s.trim()),
            Value::Number(n) => Quantity::parse(number_text(&n.to_string())),
            Value::Null => Ok(Quantity::ZERO),
            _ => Err(ParseError::Format),
        }
    }

    pub fn format(self) -> Format {
        self.format
    }
    pub fn nanos(self) -> i128 {
        self.nanos
    }
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }
    /// -1, 0, 1
    pub fn sign(self) -> i32 {
        self.nanos.signum() as i32
    }
    /// `Value()`: whole units, rounded away from zero, saturating.
    pub fn value(self) -> i64 {
        clamp(div_up(self.nanos, NANO))
    }
    /// `MilliValue()`: thousandths, rounded away from zero, saturating.
    pub fn millis(self) -> i64 {
        clamp(div_up(self.nanos, NANO / 1000))
    }
    /// `RoundUp(Milli)`: what defaulting does to resource lists.
    pub fn round_up_millis(self) -> Quantity {
        Quantity { nanos: div_up(self.nanos, NANO / 1000).saturating_mul(NANO / 1000), ..self }
    }
    /// Saturating.
    pub fn times(self, factor: i64) -> Quantity {
        Quantity { nanos: self.nanos.saturating_mul(factor.into()), ..self }
    }

    fn combine(self, other: Quantity, nanos: i128) -> Quantity {
        Quantity { nanos, format: if self.is_zero() { other.format } else { self.format } }
    }
}

/// `0.5` as it is, `1000.0` (a whole float) as `1000`.
fn number_text(text: &str) -> &str {
    text.strip_suffix(".0").unwrap_or(text)
}

fn clamp(v: i128) -> i64 {
    v.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// What a client gets back for what it wrote: the canonical form, or the text itself where upstream keeps that.
pub fn canonical(text: &str) -> Result<String, ParseError> {
    if text == "0" || split(text)?.kept_as_written() {
        return Ok(text.to_owned());
    }
    Ok(Quantity::parse(text)?.to_string())
}

/// `SetDefaults_ResourceList`: rounds every amount of a resource list up to thousandths. What is no quantity stays.
pub fn round_resource_list(list: &mut Value) {
    for v in list.as_object_mut().into_iter().flat_map(|o| o.values_mut()) {
        if let Ok(q) = Quantity::from_tree(v)
            && q.nanos % (NANO / 1000) != 0
        {
            *v = Value::String(q.round_up_millis().to_string());
        }
    }
}

impl FromStr for Quantity {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Quantity, ParseError> {
        Quantity::parse(text)
    }
}
impl TryFrom<&Typed> for Quantity {
    type Error = ParseError;
    fn try_from(q: &Typed) -> Result<Quantity, ParseError> {
        Quantity::parse(&q.0)
    }
}
impl From<Quantity> for Typed {
    fn from(q: Quantity) -> Typed {
        Typed(q.to_string())
    }
}

/// The canonical form: no fraction, the largest suffix that leaves none.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos / NANO;
        if self.format == Format::BinarySi && self.nanos % NANO == 0 && whole.abs() >= 1024 {
            let (mut n, mut i) = (whole, 0);
            while n % 1024 == 0 && i + 1 < BINARY.len() {
                n /= 1024;
                i += 1;
            }
            return write!(f, "{n}{}", BINARY[i]);
        }
        let (mut n, mut i) = (self.nanos, 0);
        while n % 1000 == 0 && i + 1 < DECIMAL.len() {
            n /= 1000;
            i += 1;
        }
        match (self.format, DECIMAL[i]) {
            (Format::DecimalExponent, (_, 0)) => write!(f, "{n}"),
            (Format::DecimalExponent, (_, e)) => write!(f, "{n}e{e}"),
            (_, (suffix, _)) => write!(f, "{n}{suffix}"),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
/// Saturating. A zero takes the other's format.
impl Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Quantity) -> Quantity {
        self.combine(other, self.nanos.saturating_add(other.nanos))
    }
}
impl Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        self.combine(other, self.nanos.saturating_sub(other.nanos))
    }
}
impl Neg for Quantity {
    type Output = Quantity;
    fn neg(self) -> Quantity {
        Quantity { nanos: self.nanos.saturating_neg(), ..self }
    }
}
impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}
impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Quantity) {
        *self = *self - other;
    }
}

#[cfg(test)]
mod tests;

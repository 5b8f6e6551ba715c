//! The text form of quantities: upstream's `parseQuantityString` and `ParseQuantity`.

use super::{Format, NANO, ParseError};

pub(super) const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
pub(super) const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

pub(super) struct Parts<'a> {
    negative: bool,
    /// Without leading zeros.
    whole: &'a str,
    fraction: &'a str,
    pub format: Format,
    exponent: i32,
}

fn digits(s: &str) -> (&str, &str) {
    s.split_at(s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len()))
}

pub(super) fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    if text.is_empty() {
        return Err(ParseError::Format);
    }
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    let (whole, rest) = digits(rest);
    let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), digits);
    let tail = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if !tail.bytes().all(|c| c.is_ascii_digit()) {
        return Err(ParseError::Format);
    }
    let (format, exponent) = if let Some((_, e)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        (Format::DecimalSi, *e)
    } else if let Some(i) = BINARY.iter().position(|s| *s == suffix) {
        (Format::BinarySi, 10 * i as i32)
    } else {
        let exponent = suffix.strip_prefix(['e', 'E']).and_then(|e| e.parse().ok()).ok_or(ParseError::Suffix)?;
        (Format::DecimalExponent, exponent)
    };
    Ok(Parts { negative, whole, fraction, format, exponent })
}

/// Integer division away from zero.
pub(super) fn div_up(a: i128, b: i128) -> i128 {
    a / b + if a % b == 0 { 0 } else { a.signum() }
}

impl Parts<'_> {
    /// In nanos, rounded away from zero.
    pub fn nanos(&self) -> Result<i128, ParseError> {
        // no more digits than matter: 38 fit, what is cut off can only round up
        let text = format!("{}{}", self.whole, self.fraction);
        let text = text.trim_start_matches('0');
        let kept = text.len().min(36);
        let mut amount: i128 = if kept == 0 { 0 } else { text[..kept].parse().map_err(|_| ParseError::Numeric)? };
        if text[kept..].bytes().any(|c| c != b'0') {
            amount += 1;
        }
        let mut scale = 9 - self.fraction.len() as i64 + (text.len() - kept) as i64;
        match self.format {
            Format::BinarySi => {
                // shift out decimals first where the product would not fit
                while scale < 0 && amount > i128::MAX >> (self.exponent + 1) {
                    amount = div_up(amount, 10);
                    scale += 1;
                }
                amount = amount.saturating_mul(1 << self.exponent);
            }
            _ => scale += i64::from(self.exponent),
        }
        amount = match u32::try_from(scale.unsigned_abs()).ok().and_then(|s| 10i128.checked_pow(s)) {
            _ if amount == 0 => 0,
            Some(f) if scale >= 0 => amount.saturating_mul(f),
            Some(f) => div_up(amount, f),
            None if scale >= 0 => i128::MAX,
            None => 1,
        };
        if self.format == Format::BinarySi {
            amount = amount.min(i128::from(i64::MAX) * NANO);
        }
        Ok(if self.negative { -amount } else { amount })
    }

    /// Whether upstream's fast path keeps the text as it was written.
    pub fn kept_as_written(&self) -> bool {
        let whole = if self.whole.is_empty() { "0" } else { self.whole };
        let length = (whole.len() + self.fraction.len()) as i32;
        match self.format {
            Format::BinarySi => {
                let small = 15 - length - self.exponent * 3 / 10 > 0;
                self.fraction.is_empty() && small && whole.parse::<i64>().is_ok_and(|v| v & 7 != 0)
            }
            _ => {
                let scale = self.exponent.saturating_sub(self.fraction.len() as i32);
                let last =
                    if self.fraction.len() >= 3 { self.fraction.into() } else { format!("{whole}{}", self.fraction) };
                length <= 18 && scale >= -9 && scale % 3 == 0 && !last.ends_with("000") && !whole.starts_with('0')
            }
        }
    }
}

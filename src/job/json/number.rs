//! Numbers, by their exact value: what a 64-bit float would round together stays apart.

/// A number as it was found: `digits` × 10^`exponent`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// Of its text, in bytes.
    pub(super) length: usize,
    negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: Vec<u8>,
    exponent: i128,
}

impl Number {
    /// Reads a number at the beginning of a text. An error says how far it reached.
    pub(super) fn read(text: &[u8]) -> Result<Self, (usize, &'static str)> {
        let negative = text.first() == Some(&b'-');
        let mut at = usize::from(negative);
        let whole = digits(text, at);
        match whole {
            [] => return Err((at, "expected a digit")),
            [b'0', _, ..] => return Err((at, "a number may not begin with a needless 0")),
            _ => at += whole.len(),
        }
        let mut fraction: &[u8] = &[];
        if text.get(at) == Some(&b'.') {
            fraction = digits(text, at + 1);
            at += 1 + fraction.len();
            if fraction.is_empty() {
                return Err((at, "expected a digit after the decimal point"));
            }
        }
        let mut exponent = 0_i128;
        if matches!(text.get(at), Some(b'e' | b'E')) {
            at += 1;
            let down = text.get(at) == Some(&b'-');
            at += usize::from(matches!(text.get(at), Some(b'-' | b'+')));
            let power = digits(text, at);
            at += power.len();
            if power.is_empty() {
                return Err((at, "expected a digit in the exponent"));
            }
            exponent = sum(power) * if down { -1 } else { 1 };
        }
        Ok(Self::normal(negative, whole, fraction, exponent, at))
    }

    fn normal(
        negative: bool,
        whole: &[u8],
        fraction: &[u8],
        exponent: i128,
        length: usize,
    ) -> Self {
        let all = [whole, fraction].concat();
        let end = all
            .iter()
            .rposition(|digit| *digit != b'0')
            .map_or(0, |last| last + 1);
        let start = all.iter().position(|digit| *digit != b'0').unwrap_or(0);
        let digits = all.get(start..end).unwrap_or_default().to_vec();
        let zero = digits.is_empty();
        let shift = (all.len() - end) as i128 - fraction.len() as i128;
        Self {
            length,
            negative: negative && !zero,
            exponent: if zero {
                0
            } else {
                exponent.saturating_add(shift)
            },
            digits,
        }
    }

    /// Whether a 64-bit float can hold it, rounded.
    pub(super) fn is_finite(&self, text: &str) -> bool {
        text.parse::<f64>().is_ok_and(f64::is_finite)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        if self.digits.is_empty() {
            out.push(b'0');
        }
        out.extend_from_slice(&self.digits);
        if self.exponent != 0 {
            out.extend_from_slice(format!("e{}", self.exponent).as_bytes());
        }
    }
}

fn digits(text: &[u8], from: usize) -> &[u8] {
    let rest = text.get(from..).unwrap_or_default();
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    &rest[..length]
}

/// Saturating: numbers of such a size have no value, or are 0 to everybody.
fn sum(digits: &[u8]) -> i128 {
    digits.iter().fold(0_i128, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(i128::from(digit - b'0'))
    })
}

//! The randomness of an execution with tools.

use serde::{Deserialize, Serialize};
use std::fmt;

/// 256 bits from which everything random in an execution with tools follows. Never shown and never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Seed([u8; Seed::BYTES]);

#[derive(Debug, thiserror::Error)]
#[error("not a seed")]
pub struct InvalidSeed;

impl Seed {
    pub const BYTES: usize = 32;

    /// Takes random bytes of the system's generator.
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the seed that a client's own number means. It is no secret.
    pub fn of_number(number: u64) -> Self {
        let mut bytes = *b"sandpiper: a number of a client.";
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Seed(…)")
    }
}

impl From<Seed> for String {
    fn from(seed: Seed) -> Self {
        use fmt::Write as _;
        seed.0.iter().fold(Self::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl TryFrom<String> for Seed {
    type Error = InvalidSeed;

    fn try_from(text: String) -> Result<Self, InvalidSeed> {
        let mut bytes = [0; Self::BYTES];
        if text.len() != 2 * Self::BYTES || !text.is_ascii() {
            return Err(InvalidSeed);
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = &text[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidSeed)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_kept_and_not_shown() {
        let seed = Seed::new(std::array::from_fn(|index| {
            u8::try_from(index).unwrap() * 7
        }));
        let text = serde_json::to_string(&seed).unwrap();
        assert_eq!(serde_json::from_str::<Seed>(&text).unwrap(), seed);
        assert_eq!(format!("{seed:?}"), "Seed(…)");
        assert!(serde_json::from_str::<Seed>("\"00\"").is_err());
        assert_ne!(Seed::of_number(1), Seed::of_number(2));
    }
}

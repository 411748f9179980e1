//! Randomness from the seed of a log: the same in every round, and of cryptographic strength.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use sandpiper_domain::tools::Seed;

/// Bytes made at a time.
const BLOCK_BYTES: usize = 256;
const OF_MATH: [u8; 12] = *b"Math.random\0";
const OF_CRYPTO: [u8; 12] = *b"crypto\0\0\0\0\0\0";

/// Two streams, so that the use of one does not move the other.
pub(super) struct Random {
    math: Stream,
    crypto: Stream,
}

impl Random {
    pub(super) fn new(seed: &Seed) -> Self {
        Self {
            math: Stream::new(seed, OF_MATH),
            crypto: Stream::new(seed, OF_CRYPTO),
        }
    }

    /// Returns a number from 0 to 1, without 1, for `Math.random`.
    #[allow(clippy::cast_precision_loss)] // 53 bits are exact
    pub(super) fn number(&mut self) -> f64 {
        const BITS: u32 = 53;
        let mut bytes = [0; 8];
        self.math.fill(&mut bytes);
        let bits = u64::from_le_bytes(bytes) >> (u64::BITS - BITS);
        bits as f64 / (1_u64 << BITS) as f64
    }

    /// Fills `bytes` for `crypto`.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.crypto.fill(bytes);
    }
}

struct Stream {
    cipher: ChaCha20,
    block: [u8; BLOCK_BYTES],
    used: usize,
}

impl Stream {
    fn new(seed: &Seed, nonce: [u8; 12]) -> Self {
        Self {
            cipher: ChaCha20::new(&(*seed.as_bytes()).into(), &nonce.into()),
            block: [0; BLOCK_BYTES],
            used: BLOCK_BYTES,
        }
    }

    fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.used == BLOCK_BYTES {
                self.block = [0; BLOCK_BYTES];
                self.cipher.apply_keystream(&mut self.block);
                self.used = 0;
            }
            let count = bytes.len().min(BLOCK_BYTES - self.used);
            let (now, later) = bytes.split_at_mut(count);
            now.copy_from_slice(&self.block[self.used..self.used + count]);
            self.used += count;
            bytes = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(number: u64) -> Random {
        Random::new(&Seed::of_number(number))
    }

    #[test]
    fn one_seed_gives_one_sequence_however_it_is_cut() {
        let (mut one, mut other) = (random(1), random(1));
        let mut whole = [0; 1000];
        one.fill(&mut whole);
        let mut pieces = Vec::new();
        for length in [1, 255, 256, 0, 488] {
            let mut piece = vec![0; length];
            other.fill(&mut piece);
            // The other stream does not move this one.
            other.number();
            pieces.extend(piece);
        }
        assert_eq!(whole.as_slice(), pieces);
    }

    #[test]
    fn numbers_are_below_one_and_spread() {
        let mut random = random(2);
        let numbers: Vec<f64> = (0..10_000).map(|_| random.number()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
    }
}

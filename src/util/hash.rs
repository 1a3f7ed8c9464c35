//! Hashes that are the same on every platform, in every process.
//!
//! The hashes spread keys over endpoints, as Envoy's `HashUtil::xxHash64` does. They are no defence
//! against an attacker who chooses the keys.

/// Hashes bytes: XXH64 of Collet, by the [specification] of the algorithm.
///
/// [specification]: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    let mut rest = bytes;
    let mut hash = if bytes.len() < 32 {
        seed.wrapping_add(PRIME_5)
    } else {
        let mut lanes = [
            seed.wrapping_add(PRIME_1).wrapping_add(PRIME_2),
            seed.wrapping_add(PRIME_2),
            seed,
            seed.wrapping_sub(PRIME_1),
        ];
        while let Some((stripe, after)) = rest.split_first_chunk::<32>() {
            for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
                *lane = round(*lane, u64::from_le_bytes(*word));
            }
            rest = after;
        }
        let [a, b, c, d] = lanes;
        let mixed = a
            .rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18));
        lanes.iter().fold(mixed, |hash, lane| {
            (hash ^ round(0, *lane)).wrapping_mul(PRIME_1).wrapping_add(PRIME_4)
        })
    };
    hash = hash.wrapping_add(bytes.len() as u64);

    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        hash = (hash ^ round(0, u64::from_le_bytes(*word))).rotate_left(27);
        hash = hash.wrapping_mul(PRIME_1).wrapping_add(PRIME_4);
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk::<4>() {
        hash ^= u64::from(u32::from_le_bytes(*word)).wrapping_mul(PRIME_1);
        hash = hash.rotate_left(23).wrapping_mul(PRIME_2).wrapping_add(PRIME_3);
        rest = after;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(PRIME_5)).rotate_left(11);
        hash = hash.wrapping_mul(PRIME_1);
    }

    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIME_2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIME_3);
    hash ^ (hash >> 32)
}

/// Returns the number `n` of the sequence of a hash, to be used if the owner of the hash is busy.
///
/// The sequence is that of [`Rng`](crate::util::rng::Rng) with the hash as its seed, so neighbouring
/// hashes and neighbouring numbers are unrelated.
pub const fn mix(hash: u64, n: u64) -> u64 {
    let mut z = hash.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const PRIME_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const PRIME_3: u64 = 0x1656_67b1_9e37_79f9;
const PRIME_4: u64 = 0x85eb_ca77_c2b2_ae63;
const PRIME_5: u64 = 0x27d4_eb2f_1656_67c5;

/// Takes eight bytes into a lane.
const fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIME_2)).rotate_left(31).wrapping_mul(PRIME_1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::rng::Rng;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn hash_is_the_published_one_for_known_texts() {
        let known: [(&[u8], u64, u64); 6] = [
            (b"", 0, 0xef46_db37_51d8_e999),
            (b"a", 0, 0xd24e_c4f1_a98c_6e5b),
            (b"abc", 0, 0x44bc_2cf5_ad77_0999),
            (b"Nobody inspects the spammish repetition", 0, 0xfbce_a83c_8a37_8bf1),
            (b"xxhash", 0, 0x32dd_3895_2c4b_c720),
            (b"xxhash", 20_141_025, 0xb559_b98d_844e_0635),
        ];
        for (bytes, seed, hash) in known {
            assert_eq!(xxh64(bytes, seed), hash, "{}", bytes.escape_ascii());
        }
    }

    /// The bytes and the sums of xxHash's own sanity check (`xsum_sanity_check.c`).
    #[test]
    fn hash_is_that_of_the_reference_for_every_length() {
        let mut generator = 2_654_435_761_u64;
        let bytes = [(); 222].map(|()| {
            let byte = (generator >> 56) as u8;
            generator = generator.wrapping_mul(11_400_714_785_074_694_797);
            byte
        });
        const SEED: u64 = 0x9e37_79b1;
        let known = [
            (0, 0, 0xef46_db37_51d8_e999),
            (0, SEED, 0xac75_fda2_929b_17ef),
            (1, 0, 0xe934_a84a_db05_2768),
            (1, SEED, 0x5014_6076_43a9_b4c3),
            (4, 0, 0x9136_a0dc_a574_57ee),
            (4, SEED, 0xcaab_286b_d8e9_fdb5),
            (14, 0, 0x8282_dcc4_994e_35c8),
            (14, SEED, 0xc3bd_6bf6_3deb_6df0),
            (32, 0, 0x18b2_1649_2bb4_4b70),
            (32, SEED, 0xb3f3_3bdf_93ad_e409),
            (222, 0, 0xb641_ae8c_b691_c174),
            (222, SEED, 0x20cb_8ab7_ae10_c14a),
        ];
        for (length, seed, hash) in known {
            assert_eq!(xxh64(&bytes[..length], seed), hash, "{length} bytes, seed {seed}");
        }
    }

    #[test]
    fn mixed_hashes_are_the_sequence_of_the_seed() {
        let mut rng = Rng::new(77);
        for n in 0..10 {
            assert_eq!(mix(77, n), rng.next_u64());
        }
    }
}

//! Conversions between the values of the keys file and their text.

use crate::hex::{Digest, from_hex, to_hex};
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de};
use std::fmt::Display;
use std::str::FromStr;

pub(super) fn write<T: ToString, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

pub(super) fn write_some<T: ToString, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value
        .as_ref()
        .map(ToString::to_string)
        .serialize(serializer)
}

pub(super) fn read<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(de::Error::custom)
}

pub(super) fn read_some<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    read(deserializer).map(Some)
}

pub(super) fn write_digest<S: Serializer>(
    digest: &Digest,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_hex(digest))
}

pub(super) fn read_digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    from_hex(&String::deserialize(deserializer)?)
        .ok_or_else(|| de::Error::custom("sha256 is 64 lower-case hexadecimal digits"))
}

//! TOML has no null: an empty string stands for "not set". For `#[serde(with)]`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<T: Serialize, S: Serializer>(
    value: &Option<T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(to),
        None => to.serialize_str(""),
    }
}

pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: From<String>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(from)?;
    Ok(if text.is_empty() {
        None
    } else {
        Some(T::from(text))
    })
}

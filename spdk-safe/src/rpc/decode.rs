//! The parameters of a call: from bytes to a value, or to an error that names the field.

use serde::de::DeserializeOwned;

use super::RpcError;
use crate::panic;

/// Reads the parameters of a call from the text of an object.
///
/// Nothing and `null` are an empty object; an empty object is also what `()` and an `Option` are made of. Fields that
/// `P` does not know are refused, whatever its attributes say, unless it collects them with `#[serde(flatten)]`.
///
/// ```
/// use spdk_safe::rpc;
///
/// #[derive(serde::Deserialize)]
/// struct Create { name: String, num_blocks: u64 }
///
/// let params = rpc::decode::<Create>(br#"{"name": "disk0", "num_blocks": "8"}"#);
/// assert_eq!(params.err().unwrap().message(), r#"num_blocks: invalid type: string "8", expected u64"#);
/// let params = rpc::decode::<Create>(br#"{"name": "disk0", "num_blocks": 8, "blocksize": 512}"#);
/// assert_eq!(params.err().unwrap().message(), "there is no parameter \"blocksize\"");
/// ```
///
/// # Errors
///
/// [`RpcError::INVALID_PARAMS`], with a text that names the field; [`RpcError::INTERNAL`] if `P`'s own code panics.
pub fn decode<P: DeserializeOwned>(json: &[u8]) -> Result<P, RpcError> {
    let text = json.trim_ascii();
    let text = match text {
        b"" | b"null" => b"{}",
        text => text,
    };
    if text.first() != Some(&b'{') {
        return Err(RpcError::invalid_params(
            "parameters have names: an object is expected, not an array or a value",
        ));
    }
    panic::contain("the decoding of an RPC's parameters", || {
        named::<P>(text).or_else(|error| match text {
            b"{}" => serde_json::from_str("null").map_err(|_| error),
            _ => Err(error),
        })
    })
    .unwrap_or_else(|| {
        Err(RpcError::internal(
            "the decoding of the parameters panicked; the log says where",
        ))
    })
}

fn named<P: DeserializeOwned>(text: &[u8]) -> Result<P, RpcError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut unknown = None;
    let mut note = |path: serde_ignored::Path<'_>| {
        if unknown.is_none() {
            unknown = Some(path.to_string());
        }
    };
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let value = P::deserialize(serde_ignored::Deserializer::new(tracked, &mut note));
    let value = value.map_err(|error| {
        let place = place(&track.path());
        // A line and a column of a text that SPDK has written anew say nothing.
        let text = error.to_string();
        let what = text
            .rsplit_once(" at line ")
            .map_or(&*text, |(what, _)| what);
        match &*place {
            "" => RpcError::invalid_params(what.to_owned()),
            place => RpcError::invalid_params(format!("{place}: {what}")),
        }
    })?;
    json.end()
        .map_err(|error| RpcError::invalid_params(error.to_string()))?;
    match unknown {
        Some(path) => Err(RpcError::invalid_params(format!(
            "there is no parameter {path:?}"
        ))),
        None => Ok(value),
    }
}

/// The field that an error is about, such as `parts[1].count`; empty for all of it.
pub(crate) fn place(path: &serde_path_to_error::Path) -> String {
    let path = path.to_string();
    // What could not be read has no name.
    let path = path.strip_suffix('?').unwrap_or(&path);
    path.strip_suffix('.').unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        count: u32,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Params {
        name: String,
        #[serde(default)]
        blocks: u64,
        #[serde(default)]
        parts: Vec<Inner>,
    }

    fn fails(text: &str) -> String {
        let error = decode::<Params>(text.as_bytes()).unwrap_err();
        assert_eq!(error.code(), RpcError::INVALID_PARAMS, "{text}");
        error.message().to_owned()
    }

    #[test]
    fn r1_what_is_wrong_is_named() {
        assert_eq!(fails(""), "missing field `name`");
        assert_eq!(fails("null"), "missing field `name`");
        assert_eq!(
            fails(r#"{"name": 7}"#),
            "name: invalid type: integer `7`, expected a string"
        );
        assert_eq!(
            fails(r#"{"name": "a", "parts": [{"count": 1}, {"count": -1}]}"#),
            "parts[1].count: invalid value: integer `-1`, expected u32"
        );
        assert_eq!(
            fails(r#"{"name": "a", "parts": [{"count": 1, "size": 2}]}"#),
            "there is no parameter \"parts.0.size\""
        );
        assert_eq!(
            fails(r#"{"name": "a", "nmae": "b"}"#),
            "there is no parameter \"nmae\""
        );
        assert!(fails(r#"{"name": "a", "name": "b"}"#).contains("duplicate field `name`"));
        assert!(fails(r#"["a", 1]"#).contains("an object is expected"));
        assert!(fails("3").contains("an object is expected"));
        assert!(fails(r#"{"name": "a"} {}"#).contains("trailing"));
        assert!(fails(r#"{"name": "a", "blocks": 18446744073709551616}"#).starts_with("blocks: "));
        assert!(fails(r#"{"name": "a", "blocks": 1.5}"#).starts_with("blocks: "));
    }

    #[test]
    fn numbers_are_exact_and_nothing_is_an_empty_object() {
        let text = r#"{"name": "a\u0000b", "blocks": 18446744073709551615}"#;
        let params: Params = decode(text.as_bytes()).unwrap();
        assert_eq!((&*params.name, params.blocks), ("a\0b", u64::MAX));
        decode::<()>(b"").unwrap();
        decode::<()>(b" {} ").unwrap();
        decode::<()>(b"{\"a\": 1}").unwrap_err();
        assert_eq!(decode::<Option<Params>>(b"null").unwrap(), None);
        assert_eq!(
            decode::<Option<Inner>>(b"{\"count\": 1}").unwrap(),
            Some(Inner { count: 1 })
        );
    }

    #[test]
    fn r1_what_is_no_json_and_what_is_too_deep_are_errors() {
        decode::<Params>(b"{\"name\": \"\xff\"}").unwrap_err();
        decode::<Params>(b"{").unwrap_err();
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        decode::<serde_json::Value>(deep.as_bytes()).unwrap_err();
    }

    #[test]
    fn t13_a_deserialize_that_panics_is_an_internal_error() {
        #[derive(Debug)]
        struct Panics;
        impl<'de> Deserialize<'de> for Panics {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                panic!("on purpose")
            }
        }
        let error = decode::<Panics>(b"{}").unwrap_err();
        assert_eq!(error.code(), RpcError::INTERNAL);
    }
}

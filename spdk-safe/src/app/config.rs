//! A JSON configuration, looked at before SPDK starts: SPDK's own errors name no line, and 20.07 crashes on some.
//!
//! ```text
//! { "subsystems": [ { "subsystem": "bdev", "config": [ { "method": "bdev_malloc_create", "params": { ... } }, ... ] } ] }
//! ```

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::AppError;

/// Looks at `text`, which comes from `file`. `Some` is what SPDK is to be given instead.
pub(super) fn check(file: &str, text: &[u8]) -> Result<Option<Vec<u8>>, AppError> {
    let error = |field: String, error: &serde_json::Error| {
        let what = error.to_string();
        AppError::ConfigSyntax {
            file: file.to_owned(),
            line: error.line(),
            column: error.column(),
            field,
            what: match what.rsplit_once(" at line ") {
                Some((what, _)) => what.to_owned(),
                None => what,
            },
        }
    };
    let plain = without_comments(text);
    let mut json = serde_json::Deserializer::from_slice(&plain);
    let parsed = serde_path_to_error::deserialize::<_, Object<File>>(&mut json);
    let parsed = parsed.map_err(|e| error(crate::rpc::place(e.path()), e.inner()))?;
    json.end().map_err(|e| error(String::new(), &e))?;
    if spdk_sys::CONFIG_PARAMS_ARE_OPTIONAL {
        return Ok(None);
    }
    serde_json::to_vec(&parsed)
        .map(Some)
        .map_err(|e| error(String::new(), &e))
}

/// `text` with blanks in place of comments, which SPDK allows in a configuration; every byte keeps its place.
fn without_comments(text: &[u8]) -> Vec<u8> {
    let mut plain = text.to_vec();
    let mut at = 0;
    while at < plain.len() {
        let end = match &plain[at..] {
            [b'"', rest @ ..] => {
                at += 1 + end_of_string(rest);
                continue;
            }
            [b'/', b'/', rest @ ..] => rest.iter().position(|b| *b == b'\n').map(|n| at + 2 + n),
            [b'/', b'*', rest @ ..] => rest.windows(2).position(|w| w == b"*/").map(|n| at + 4 + n),
            _ => {
                at += 1;
                continue;
            }
        };
        let end = end.unwrap_or(plain.len());
        for byte in &mut plain[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    plain
}

/// How far a string goes whose quote was just read.
fn end_of_string(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = rest.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    at
}

/// A struct as an object; serde would take an array, too.
#[derive(Serialize)]
#[serde(transparent)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// All of it; SPDK ignores what else there is.
#[derive(Deserialize, Serialize)]
struct File {
    #[serde(default)]
    subsystems: Vec<Object<Subsystem>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Subsystem {
    subsystem: String,
    #[serde(deserialize_with = "Option::deserialize")]
    config: Option<Vec<Entry>>,
}

/// A call, or a batch of them.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry {
    Call(Call),
    Batch(Vec<Call>),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Call {
    method: String,
    #[serde(default)]
    params: Params,
}

/// An object, as it stands there.
#[derive(Serialize)]
#[serde(transparent)]
struct Params(Box<RawValue>);

impl Default for Params {
    fn default() -> Self {
        // That is an object.
        Self(RawValue::from_string("{}".into()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if raw.get().starts_with('{') {
            return Ok(Self(raw));
        }
        Err(de::Error::custom(
            "parameters have names: an object is expected",
        ))
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;

        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with \"method\" and \"params\"")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                Call::deserialize(de::value::MapAccessDeserializer::new(map)).map(Entry::Call)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
                if !spdk_sys::CONFIG_HAS_BATCHES {
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    return Err(de::Error::custom(format!(
                        "batches of calls came with SPDK 26.05, and this is {}",
                        super::spdk_version()
                    )));
                }
                let mut calls = Vec::new();
                while let Some(call) = seq.next_element()? {
                    calls.push(call);
                }
                Ok(Entry::Batch(calls))
            }
        }

        deserializer.deserialize_any(EntryVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> String {
        check("app.json", text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn r3_an_error_names_line_column_and_field() {
        assert_eq!(
            fails("{\n  nonsense"),
            "app.json, line 2, column 3: key must be a string"
        );
        assert_eq!(
            fails(
                "{\"subsystems\": [\n  {\"subsystem\": \"bdev\", \"config\": [\n    {\"method\": 3}\n]}]}"
            ),
            "app.json, line 3, column 16: subsystems[0].config[0].method: invalid type: integer `3`, expected a string"
        );
        let error = fails(
            "{\"subsystems\": [{\"subsystem\": \"bdev\",\n\"config\": [{\"method\": \"m\", \"params\": [1]}]}]}",
        );
        assert!(error.starts_with("app.json, line 2, column "), "{error}");
        assert!(
            error.contains("subsystems[0].config[0].params: parameters have names"),
            "{error}"
        );
        let error = fails(
            "{\"subsystems\": [{\"subsystem\": \"bdev\", \"config\": [{\"metod\": \"m\"}]}]}",
        );
        assert!(error.contains("unknown field `metod`"), "{error}");
        assert!(
            fails("{\"subsystems\": [{\"subsystem\": \"bdev\"}]}")
                .contains("missing field `config`")
        );
        assert!(fails("{\"subsystems\": {}}").contains("subsystems: "));
        assert!(fails("[]").contains("line 1, column "));
        assert!(fails("").contains("EOF"));
        assert!(fails("{} x").contains("trailing"));
    }

    #[test]
    fn comments_and_what_else_there_is_are_left_alone() {
        let text = r#"{ // "}"
            /* { */ "more": {"a": "//"}, "subsystems": [ {"subsystem": "bdev", "config": null},
            {"subsystem": "x", "config": [{"method": "m /* \" */"}, {"method": "n", "params": {"n": 18446744073709551616}}]} ] /**/ }"#;
        let given = check("app.json", text.as_bytes()).unwrap();
        if !spdk_sys::CONFIG_PARAMS_ARE_OPTIONAL {
            assert_eq!(
                String::from_utf8(given.unwrap()).unwrap(),
                r#"{"subsystems":[{"subsystem":"bdev","config":null},{"subsystem":"x","config":[{"method":"m /* \" */","params":{}},{"method":"n","params":{"n": 18446744073709551616}}]}]}"#
            );
        }
    }
}

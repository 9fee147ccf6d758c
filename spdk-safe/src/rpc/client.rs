//! A client of SPDK's JSON-RPC, for tests and tools. It needs no SPDK.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use thiserror::Error;

/// How long a call may take if nothing else is said; as SPDK's own client.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a call gave no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens on the socket. Start the target with an RPC socket there, or name another one.
    #[error("no SPDK answers on {path:?}: {source}; is the target running, with this RPC socket?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The target answered with an error; its log may say more.
    #[error("{method}: {message} ({code})")]
    Rpc {
        /// The method.
        method: String,
        /// SPDK's code: one of JSON-RPC's, or a negated errno.
        code: i64,
        /// The text.
        message: String,
    },
    /// No answer came in time. It is dropped should it come later; the target may do the work all the same.
    #[error("{method}: no answer within {after:?}")]
    TimedOut {
        /// The method.
        method: String,
        /// The time that the call had.
        after: Duration,
    },
    /// The target closed the connection: it has ended, or can't read the request (SPDK takes 32 KiB and 1024 values).
    #[error("{method}: the target closed the connection without an answer")]
    Closed {
        /// The method.
        method: String,
    },
    /// The connection failed.
    #[error("{method}: {source}")]
    Io {
        /// The method.
        method: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The parameters have no form in JSON.
    #[error("{method}: the parameters can't be written as JSON: {source}")]
    Params {
        /// The method.
        method: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The answer is not what the caller expects, or no JSON-RPC at all.
    #[error("{method}: the answer is not what was expected: {source}")]
    Answer {
        /// The method.
        method: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl ClientError {
    /// The code with which the target answered, if it did.
    #[must_use]
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Rpc { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A connection to an SPDK target's RPC socket. Calls block, one at a time.
///
/// ```no_run
/// # use spdk_safe::rpc::{Client, ClientError};
/// #[derive(serde::Deserialize)]
/// struct Bdev { name: String, num_blocks: u64 }
///
/// # fn main() -> Result<(), ClientError> {
/// let mut client = Client::connect("/var/tmp/spdk.sock")?;
/// let bdevs: Vec<Bdev> = client.call("bdev_get_bdevs", &())?;
/// let one: Vec<Bdev> = client.call("bdev_get_bdevs", &serde_json::json!({ "name": "disk0" }))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    /// What has arrived and belongs to no answer yet.
    received: Vec<u8>,
    next_id: u64,
    patience: Duration,
}

#[derive(Serialize)]
struct Request<'a, P: ?Sized> {
    jsonrpc: &'a str,
    id: u64,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a P>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    id: Value,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    code: i64,
    message: String,
}

impl Client {
    /// Connects to the Unix socket at `path`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Connect`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).map_err(|source| ClientError::Connect {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            stream,
            received: Vec::new(),
            next_id: 1,
            patience: PATIENCE,
        })
    }

    /// How long each call may take; a minute if it is not said.
    #[must_use]
    pub fn time_out(mut self, most: Duration) -> Self {
        self.patience = most;
        self
    }

    /// Calls `method` and waits for its result. `&()` are no parameters.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]. After [`ClientError::TimedOut`] the client can go on: a late answer is dropped.
    pub fn call<P, R>(&mut self, method: &str, params: &P) -> Result<R, ClientError>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let id = self.next_id;
        self.next_id += 1;
        let encoding = |source| ClientError::Params {
            method: method.to_owned(),
            source,
        };
        let params = serde_json::value::to_raw_value(params).map_err(encoding)?;
        let request = Request {
            jsonrpc: "2.0",
            id,
            method,
            params: (params.get() != "null").then_some(&*params),
        };
        let request = serde_json::to_vec(&request).map_err(encoding)?;
        let until = Instant::now().checked_add(self.patience);
        self.send(method, &request, until)?;
        loop {
            let text = self.receive(method, until)?;
            let unexpected = |source| ClientError::Answer {
                method: method.to_owned(),
                source,
            };
            let answer: Answer<'_> = serde_json::from_slice(&text).map_err(unexpected)?;
            // Without an id it is about a request that SPDK could not read, which can only be the last one.
            if !answer.id.is_null() && answer.id.as_u64() != Some(id) {
                continue;
            }
            if let Some(Failure { code, message }) = answer.error {
                return Err(ClientError::Rpc {
                    method: method.to_owned(),
                    code,
                    message,
                });
            }
            let result = answer.result.map_or("null", RawValue::get);
            return serde_json::from_str(result).map_err(unexpected);
        }
    }

    fn send(
        &mut self,
        method: &str,
        request: &[u8],
        until: Option<Instant>,
    ) -> Result<(), ClientError> {
        let mut rest = request;
        while !rest.is_empty() {
            self.stream
                .set_write_timeout(self.left(method, until)?)
                .and_then(|()| self.stream.write(rest))
                .map(|sent| rest = &rest[sent..])
                .or_else(|source| Self::again(method, source))?;
        }
        Ok(())
    }

    /// The text of the next answer.
    fn receive(&mut self, method: &str, until: Option<Instant>) -> Result<Vec<u8>, ClientError> {
        let mut scan = Scan::default();
        loop {
            if let Some(end) = scan.end_of_value(&self.received) {
                let rest = self.received.split_off(end);
                return Ok(std::mem::replace(&mut self.received, rest));
            }
            let mut piece = [0; 16384];
            let got = self
                .stream
                .set_read_timeout(self.left(method, until)?)
                .and_then(|()| self.stream.read(&mut piece));
            match got {
                Ok(0) => {
                    return Err(ClientError::Closed {
                        method: method.to_owned(),
                    });
                }
                Ok(got) => self.received.extend_from_slice(&piece[..got]),
                Err(source) => Self::again(method, source)?,
            }
        }
    }

    /// The time that is left.
    fn left(&self, method: &str, until: Option<Instant>) -> Result<Option<Duration>, ClientError> {
        let Some(until) = until else {
            return Ok(None);
        };
        let left = until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(ClientError::TimedOut {
                method: method.to_owned(),
                after: self.patience,
            }),
            false => Ok(Some(left)),
        }
    }

    /// Whether to try again after `source`: the time that is left decides.
    fn again(method: &str, source: io::Error) -> Result<(), ClientError> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, Interrupted, TimedOut, WouldBlock};
        let method = method.to_owned();
        match source.kind() {
            Interrupted | TimedOut | WouldBlock => Ok(()),
            BrokenPipe | ConnectionReset => Err(ClientError::Closed { method }),
            _ => Err(ClientError::Io { method, source }),
        }
    }
}

/// Finds the end of a JSON object in a stream, which SPDK may end with a newline, or not.
#[derive(Debug, Default)]
struct Scan {
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Where the first object or array in `text` ends. `text` is that of the last time, with more at its end.
    fn end_of_value(&mut self, text: &[u8]) -> Option<usize> {
        while let Some(byte) = text.get(self.at) {
            self.at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A target that reads one request for each of `answers`, and sends it in pieces.
    fn target(
        answers: &'static [&'static str],
    ) -> (
        tempfile::TempDir,
        PathBuf,
        std::thread::JoinHandle<Vec<Value>>,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rpc.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut requests = Vec::new();
            let mut text = Vec::new();
            for answer in answers {
                let end = loop {
                    if let Some(end) = Scan::default().end_of_value(&text) {
                        break end;
                    }
                    let mut piece = [0; 64];
                    let got = stream.read(&mut piece).unwrap();
                    assert_ne!(got, 0);
                    text.extend_from_slice(&piece[..got]);
                };
                let rest = text.split_off(end);
                requests.push(serde_json::from_slice(&std::mem::replace(&mut text, rest)).unwrap());
                for piece in answer.as_bytes().chunks(7) {
                    stream.write_all(piece).unwrap();
                }
            }
            requests
        });
        (folder, path, thread)
    }

    #[test]
    fn answers_are_found_with_and_without_newlines_and_by_their_ids() {
        let (_folder, path, thread) = target(&[
            r#"{"id": 7, "result": "of another"}  {"jsonrpc":"2.0","id":1,"result":{"a":"}\"{"}}"#,
            "\n{\"id\":2,\"result\":18446744073709551615}\n\n",
            r#"{"id":3,"error":{"code":-17,"message":"File exists"}}"#,
            r#"{"id":4,"result":true}"#,
        ]);
        let mut client = Client::connect(path).unwrap();
        let first: Value = client.call("a", &json!({"x": 1})).unwrap();
        assert_eq!(first, json!({"a": "}\"{"}));
        assert_eq!(client.call::<_, u64>("b", &()).unwrap(), u64::MAX);
        let error = client.call::<_, Value>("c", &()).unwrap_err();
        assert_eq!(error.code(), Some(-17));
        assert_eq!(error.to_string(), "c: File exists (-17)");
        let error = client.call::<_, u64>("d", &()).unwrap_err();
        assert!(matches!(error, ClientError::Answer { .. }), "{error}");
        let error = client.call::<_, u64>("e", &()).unwrap_err();
        assert!(matches!(error, ClientError::Closed { .. }), "{error}");
        let requests = thread.join().unwrap();
        assert_eq!(requests[0]["params"], json!({"x": 1}));
        assert_eq!(requests[1].get("params"), None);
    }

    #[test]
    fn a_call_that_nobody_answers_ends() {
        let (_folder, path, thread) = target(&["", r#"{"id":1,"result":1} {"id":2,"result":2}"#]);
        let mut client = Client::connect(path)
            .unwrap()
            .time_out(Duration::from_millis(20));
        let error = client.call::<_, u64>("slow", &()).unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
        // The late answer is not taken for that of the next call.
        let mut client = client.time_out(PATIENCE);
        assert_eq!(client.call::<_, u64>("next", &()).unwrap(), 2);
        thread.join().unwrap();
    }

    #[test]
    fn nobody_listens() {
        let error = Client::connect("/nonexistent/rpc.sock").unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/rpc.sock"),
            "{error}"
        );
    }
}

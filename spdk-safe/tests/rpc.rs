//! JSON-RPC over real sockets. DPDK initialises once per process, so each test runs in a process of its own.

use std::future::pending;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use spdk_safe::app::{Builder, yield_now};
use spdk_safe::error::RegisterError;
use spdk_safe::prelude::*;
use spdk_safe::rpc::{self, Client, ClientError, Method, RpcError, State};

/// Says which test a child process is to run.
const CHILD: &str = "SPDK_SAFE_TEST_CHILD";

/// Runs `test` in a process of its own. Its output becomes ours, and its failure.
fn in_process(name: &str, test: impl FnOnce()) {
    if std::env::var(CHILD).as_deref() == Ok(name) {
        return test();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}", output.status);
    assert!(said.contains("1 passed"), "the child ran no test:\n{said}");
}

fn app() -> Builder {
    App::builder("rpc-test")
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(400))
        .pools(Pools::small())
        .log_level(LogLevel::Warn)
}

/// Runs an app with `methods`, and `client` on an OS thread of its own; the app ends after it.
fn serve<T: Send + 'static>(
    methods: &[Method],
    client: impl FnOnce(&Path) -> T + Send + 'static,
) -> T {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("rpc.sock");
    let app = methods.iter().fold(app(), |app, method| app.rpc(*method));
    app.rpc_socket(&socket)
        .run(async |_spdk| beside(move || client(&socket)).await)
        .unwrap()
}

/// Runs `work` on an OS thread, and waits for it without blocking SPDK.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(work);
    while !thread.is_finished() {
        yield_now().await;
    }
    match thread.join() {
        Ok(value) => value,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

fn code(result: Result<Value, ClientError>) -> i64 {
    let error = result.unwrap_err();
    error
        .code()
        .unwrap_or_else(|| panic!("no answer of the target's: {error}"))
}

/// The code and the text of an error.
fn failure(result: Result<Value, ClientError>) -> (i64, String) {
    match result.unwrap_err() {
        ClientError::Rpc { code, message, .. } => (code, message),
        other => panic!("no answer of the target's: {other}"),
    }
}

#[derive(Debug, Deserialize, Serialize)]
struct Params {
    name: String,
    #[serde(default)]
    blocks: u64,
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Part {
    size: u32,
}

/// Sends back what it got.
async fn echo(_spdk: Spdk, params: Params) -> Result<Params, RpcError> {
    yield_now().await;
    Ok(params)
}

const ECHO: Method = rpc::method("test_echo", State::Runtime, echo);

async fn nothing(_spdk: Spdk, (): ()) -> Result<u64, RpcError> {
    Ok(u64::MAX)
}

const NOTHING: Method = rpc::method("test_nothing", State::Runtime, nothing);

const INVALID_PARAMS: i64 = RpcError::INVALID_PARAMS as i64;
const INTERNAL: i64 = RpcError::INTERNAL as i64;
const INVALID_STATE: i64 = RpcError::INVALID_STATE as i64;

#[test]
fn r1_parameters_that_are_wrong_are_errors_that_name_them() {
    in_process(
        "r1_parameters_that_are_wrong_are_errors_that_name_them",
        || {
            serve(&[ECHO, NOTHING], |socket| {
                let mut client = Client::connect(socket).unwrap();
                let mut fails = |params: Value| {
                    let (code, text) = failure(client.call("test_echo", &params));
                    assert_eq!(code, INVALID_PARAMS, "{params}: {text}");
                    text
                };
                assert_eq!(fails(Value::Null), "missing field `name`");
                assert_eq!(fails(json!({})), "missing field `name`");
                assert!(fails(json!(["a", 1])).contains("an object is expected"));
                assert_eq!(
                    fails(json!({"name": 7})),
                    "name: invalid type: integer `7`, expected a string"
                );
                assert_eq!(
                    fails(json!({"name": "a", "nmae": 1})),
                    "there is no parameter \"nmae\""
                );
                assert_eq!(
                    fails(json!({"name": "a", "parts": [{"size": 1}, {"size": "2"}]})),
                    "parts[1].size: invalid type: string \"2\", expected u32"
                );
                assert!(fails(json!({"name": "a", "blocks": -1})).starts_with("blocks: "));
                assert!(
                    fails(json!({"name": "a", "n\0me\u{1F980}": 1})).starts_with("there is no")
                );

                let all = json!({"name": "a\0b\"\u{1F980}\n", "blocks": u64::MAX, "parts": [{"size": u32::MAX}]});
                assert_eq!(client.call::<_, Value>("test_echo", &all).unwrap(), all);
                for none in [Value::Null, json!({})] {
                    assert_eq!(
                        client.call::<_, u64>("test_nothing", &none).unwrap(),
                        u64::MAX
                    );
                }
                assert_eq!(
                    code(client.call("test_nothing", &json!({"a": 1}))),
                    INVALID_PARAMS
                );
                assert_eq!(
                    code(client.call("test_nothing_else", &())),
                    i64::from(RpcError::METHOD_NOT_FOUND)
                );
            });
        },
    );
}

/// Writes `text` on a connection of its own, and returns what comes back until the target hangs up, or has sent a line.
fn raw(socket: &Path, text: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    // The target may hang up in the middle.
    let _ = stream.write_all(text);
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !answer.ends_with(b"\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(got) => answer.extend_from_slice(&piece[..got]),
        }
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn r1_requests_that_spdk_cant_read_harm_nobody_else() {
    in_process("r1_requests_that_spdk_cant_read_harm_nobody_else", || {
        serve(&[ECHO], |socket| {
            let call = |params: &str| {
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"test_echo","params":{params}}}"#)
            };
            // A parse error, or a connection that is closed.
            let refused = |text: &[u8]| {
                let answer = raw(socket, text);
                assert!(
                    answer.is_empty() || answer.contains("-32700") || answer.contains("-32600"),
                    "{answer}"
                );
            };
            refused(b"nonsense");
            refused(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"test_echo\",\"params\":{\"name\":\"\xff\xfe\"}}");
            refused(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"te\0st\"}");
            refused(call("7").as_bytes());
            refused(call("\"name\"").as_bytes());
            refused(
                call(&format!(
                    "{{\"name\":{}1{}}}",
                    "[".repeat(1000),
                    "]".repeat(1000)
                ))
                .as_bytes(),
            );
            refused(call(&format!("{{\"parts\":[{}0]}}", "0,".repeat(20_000))).as_bytes());
            refused(call(&format!("{{\"name\":\"{}\"}}", "x".repeat(300_000))).as_bytes());
            // What SPDK can read, and we refuse.
            let answer = raw(socket, call("{\"name\":\"a\",\"name\":\"b\"}").as_bytes());
            assert!(
                answer.contains("-32602") && answer.contains("name"),
                "{answer}"
            );
            let deep = format!("{{\"name\":{}{}}}", "[".repeat(50), "]".repeat(50));
            assert!(raw(socket, call(&deep).as_bytes()).contains("-32602"));
            let many = format!("{{\"name\":\"a\",\"{}\":1}}", "x".repeat(30_000));
            assert!(raw(socket, call(&many).as_bytes()).contains("-32602"));
            let huge = "{\"name\":\"a\",\"blocks\":184467440737095516160}";
            assert!(raw(socket, call(huge).as_bytes()).contains("-32602"));

            let mut client = Client::connect(socket).unwrap();
            let params = json!({"name": "still there", "blocks": 1, "parts": []});
            assert_eq!(
                client.call::<_, Value>("test_echo", &params).unwrap(),
                params
            );
        });
    });
}

/// What panics, and where.
#[derive(Deserialize)]
struct Where {
    at: String,
}

#[derive(Debug)]
struct Bomb(bool);

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!self.0, "in the serialization");
        serializer.serialize_str("whole")
    }
}

struct DropBomb;

impl Drop for DropBomb {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

async fn panics(_spdk: Spdk, params: Where) -> Result<Bomb, RpcError> {
    assert_ne!(params.at, "start", "at the start");
    yield_now().await;
    assert_ne!(params.at, "later", "later");
    let _bomb = (params.at == "destructor").then(|| DropBomb);
    if params.at == "both" {
        let _bomb = DropBomb;
        yield_now().await;
        // Dropped while it waits, at the end of the app.
        pending::<()>().await;
    }
    Ok(Bomb(params.at == "serialize"))
}

#[derive(Debug)]
struct PanicsToDecode;

impl<'de> Deserialize<'de> for PanicsToDecode {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("in the deserialization")
    }
}

async fn decodes(_spdk: Spdk, _params: PanicsToDecode) -> Result<(), RpcError> {
    unreachable!()
}

#[test]
fn t13_r1_a_panic_is_an_internal_error_to_its_caller_alone() {
    in_process(
        "t13_r1_a_panic_is_an_internal_error_to_its_caller_alone",
        || {
            let methods = [
                rpc::method("test_panics", State::Runtime, panics),
                rpc::method("test_decodes", State::Runtime, decodes),
                NOTHING,
            ];
            serve(&methods, |socket| {
                let mut client = Client::connect(socket).unwrap();
                for at in ["start", "later", "serialize", "destructor"] {
                    let (code, text) = failure(client.call("test_panics", &json!({"at": at})));
                    assert_eq!(code, INTERNAL, "{at}: {text}");
                    assert!(text.contains("panicked"), "{at}: {text}");
                }
                assert_eq!(code(client.call("test_decodes", &())), INTERNAL);
                let whole: String = client.call("test_panics", &json!({"at": "none"})).unwrap();
                assert_eq!(whole, "whole");
                // Left at the end, with a destructor that panics.
                let mut other = Client::connect(socket)
                    .unwrap()
                    .time_out(Duration::from_millis(50));
                other
                    .call::<_, Value>("test_panics", &json!({"at": "both"}))
                    .unwrap_err();
                assert_eq!(
                    client.call::<_, u64>("test_nothing", &()).unwrap(),
                    u64::MAX
                );
            });
            assert_eq!(spdk_safe::contained_panics(), 6);
        },
    );
}

static OPEN: AtomicBool = AtomicBool::new(false);
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Answers one for each that `LEAVE` lets go.
async fn queues(_spdk: Spdk, (): ()) -> Result<(), RpcError> {
    WAITING.fetch_add(1, Ordering::AcqRel);
    let mut leave = LEAVE.load(Ordering::Acquire);
    loop {
        let left = leave.checked_sub(1);
        match left
            .map(|left| LEAVE.compare_exchange(leave, left, Ordering::AcqRel, Ordering::Acquire))
        {
            Some(Ok(_)) => break,
            Some(Err(now)) => leave = now,
            None => {
                yield_now().await;
                leave = LEAVE.load(Ordering::Acquire);
            }
        }
    }
    WAITING.fetch_sub(1, Ordering::AcqRel);
    Ok(())
}

static LEAVE: AtomicUsize = AtomicUsize::new(0);

#[test]
fn answers_that_come_one_by_one_to_a_client_that_has_gone() {
    in_process(
        "answers_that_come_one_by_one_to_a_client_that_has_gone",
        || {
            let (major, minor, _) = spdk_sys::VERSION;
            let rounds = match (major, minor) >= (23, 9) {
                // SPDK's own loss: each such connection keeps its place for ever, and there are 64.
                true => 20,
                false => 100,
            };
            let methods = [rpc::method("test_queues", State::Runtime, queues), NOTHING];
            serve(&methods, move |socket| {
                for round in 0..rounds {
                    let mut gone = UnixStream::connect(socket).unwrap();
                    for id in 0..3 {
                        let request = json!({"jsonrpc": "2.0", "id": id, "method": "test_queues"});
                        gone.write_all(request.to_string().as_bytes()).unwrap();
                    }
                    wait_until(|| WAITING.load(Ordering::Acquire) == 3);
                    drop(gone);
                    let mut client = Client::connect(socket).unwrap();
                    for left in [2, 1, 0] {
                        LEAVE.fetch_add(1, Ordering::AcqRel);
                        wait_until(|| WAITING.load(Ordering::Acquire) == left);
                        // SPDK looks at all connections in each round.
                        for _ in 0..2 {
                            client
                                .call::<_, u64>("test_nothing", &())
                                .unwrap_or_else(|error| panic!("in round {round}: {error}"));
                        }
                    }
                }
            });
        },
    );
}

/// Waits for `test_open`.
async fn waits(_spdk: Spdk, params: Params) -> Result<String, RpcError> {
    WAITING.fetch_add(1, Ordering::AcqRel);
    while !OPEN.load(Ordering::Acquire) {
        yield_now().await;
    }
    WAITING.fetch_sub(1, Ordering::AcqRel);
    Ok(params.name)
}

const WAITS: Method = rpc::method("test_waits", State::Runtime, waits);

async fn open(_spdk: Spdk, (): ()) -> Result<(), RpcError> {
    OPEN.store(true, Ordering::Release);
    Ok(())
}

const OPENS: Method = rpc::method("test_open", State::Runtime, open);

fn wait_until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::yield_now();
    }
}

#[test]
fn handlers_wait_beside_each_other_and_each_is_answered() {
    in_process(
        "handlers_wait_beside_each_other_and_each_is_answered",
        || {
            serve(&[WAITS, OPENS], |socket| {
                let waiting: Vec<_> = (0..20)
                    .map(|n| {
                        let mut client = Client::connect(socket).unwrap();
                        std::thread::spawn(move || {
                            let name = format!("number {n}");
                            let answer: String =
                                client.call("test_waits", &json!({"name": name})).unwrap();
                            assert_eq!(answer, name);
                        })
                    })
                    .collect();
                wait_until(|| WAITING.load(Ordering::Acquire) == 20);
                let mut client = Client::connect(socket).unwrap();
                client.call::<_, ()>("test_open", &()).unwrap();
                for thread in waiting {
                    thread.join().unwrap();
                }
            });
        },
    );
}

#[test]
fn a_client_that_goes_away_disturbs_nobody() {
    in_process("a_client_that_goes_away_disturbs_nobody", || {
        // SPDK has 64 connections.
        serve(&[WAITS, OPENS, NOTHING], |socket| {
            for round in 0..100 {
                OPEN.store(false, Ordering::Release);
                // Several requests on one connection, of which the last answer finds it closed.
                let mut gone = UnixStream::connect(socket).unwrap();
                for id in 0..3 {
                    let request = json!({"jsonrpc": "2.0", "id": id, "method": "test_waits", "params": {"name": "x"}});
                    gone.write_all(request.to_string().as_bytes()).unwrap();
                }
                wait_until(|| WAITING.load(Ordering::Acquire) == 3);
                drop(gone);
                let mut client = Client::connect(socket).unwrap();
                // Time for SPDK to see it.
                for _ in 0..3 {
                    client.call::<_, u64>("test_nothing", &()).unwrap();
                }
                client.call::<_, ()>("test_open", &()).unwrap();
                wait_until(|| WAITING.load(Ordering::Acquire) == 0);
                client
                    .call::<_, u64>("test_nothing", &())
                    .unwrap_or_else(|error| panic!("in round {round}: {error}"));
            }
        });
    });
}

#[test]
fn handlers_that_still_run_are_answered_when_the_app_ends() {
    in_process(
        "handlers_that_still_run_are_answered_when_the_app_ends",
        || {
            let (told, is_told) = std::sync::mpsc::channel();
            serve(&[WAITS], move |socket| {
                let mut client = Client::connect(socket).unwrap();
                std::thread::spawn(move || {
                    told.send(client.call::<_, Value>("test_waits", &json!({"name": "x"})))
                });
                wait_until(|| WAITING.load(Ordering::Acquire) == 1);
            });
            // SPDK closes its connections when it stops, whether or not it has sent all answers.
            match is_told.recv().unwrap().unwrap_err() {
                ClientError::Closed { .. } => {}
                ClientError::Rpc { code, .. } => assert!([INVALID_STATE, INTERNAL].contains(&code)),
                other => panic!("{other}"),
            }
        },
    );
}

async fn huge(_spdk: Spdk, (): ()) -> Result<String, RpcError> {
    Ok("x".repeat(33 << 20))
}

async fn large(_spdk: Spdk, (): ()) -> Result<String, RpcError> {
    Ok("x".repeat(20 << 20))
}

async fn no_json(
    _spdk: Spdk,
    (): (),
) -> Result<Vec<(u8, std::collections::BTreeMap<(u8, u8), u8>)>, RpcError> {
    Ok(vec![(1, [((1, 2), 3)].into())])
}

#[test]
fn results_that_cant_be_sent_are_errors() {
    in_process("results_that_cant_be_sent_are_errors", || {
        let methods = [
            rpc::method("test_huge", State::Runtime, huge),
            rpc::method("test_large", State::Runtime, large),
            rpc::method("test_no_json", State::Runtime, no_json),
        ];
        serve(&methods, |socket| {
            let mut client = Client::connect(socket).unwrap();
            let (code, text) = failure(client.call("test_huge", &()));
            assert_eq!(code, INTERNAL);
            assert!(text.contains("34603010 bytes"), "{text}");
            let large: String = client.call("test_large", &()).unwrap();
            assert_eq!(large.len(), 20 << 20);
            let (code, text) = failure(client.call("test_no_json", &()));
            assert_eq!(code, INTERNAL);
            assert!(text.contains("no JSON"), "{text}");
        });
    });
}

#[test]
fn a_name_that_is_taken_or_no_name_is_an_error() {
    in_process("a_name_that_is_taken_or_no_name_is_an_error", || {
        let taken = |name| {
            rpc::method(name, State::Any, nothing)
                .register()
                .unwrap_err()
        };
        for name in ["", "a b", "a\0b", "\u{1F980}"] {
            assert_eq!(taken(name), RegisterError::Name { method: name });
        }
        let method = "bdev_get_bdevs";
        assert_eq!(taken(method), RegisterError::Exists { method });
        NOTHING.register().unwrap();
        let method = "test_nothing";
        assert_eq!(taken(method), RegisterError::Exists { method });

        let later = serve(&[ECHO], |socket| {
            // Another thread, while SPDK runs.
            let error = OPENS.register().unwrap_err();
            assert_eq!(
                error,
                RegisterError::NotNow {
                    method: "test_open"
                }
            );
            let mut client = Client::connect(socket).unwrap();
            client.call::<_, u64>("test_nothing", &()).unwrap()
        });
        assert_eq!(later, u64::MAX);
        let error = OPENS.register().unwrap_err();
        assert_eq!(
            error,
            RegisterError::NotNow {
                method: "test_open"
            }
        );
    });
}

#[test]
fn a_method_that_an_app_cant_register_is_an_error_of_its_start() {
    in_process(
        "a_method_that_an_app_cant_register_is_an_error_of_its_start",
        || {
            let outcome = app().rpc(ECHO).rpc(ECHO).run(async |_spdk| ());
            let error = outcome.unwrap_err();
            assert!(matches!(error, AppError::Rpc(_)), "{error}");
            assert!(error.to_string().contains("test_echo"), "{error}");
        },
    );
}

#[test]
fn a_method_is_registered_while_the_app_runs() {
    in_process("a_method_is_registered_while_the_app_runs", || {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("rpc.sock");
        let outcome = app().rpc_socket(&socket).run(async |_spdk| {
            NOTHING.register().unwrap();
            NOTHING.register().unwrap_err();
            let socket = socket.clone();
            beside(move || {
                let mut client = Client::connect(socket).unwrap();
                client.call::<_, u64>("test_nothing", &()).unwrap()
            })
            .await
        });
        assert_eq!(outcome.unwrap(), u64::MAX);
    });
}

#[derive(Deserialize)]
struct Create {
    name: String,
    blocks: u64,
}

static EARLY: AtomicUsize = AtomicUsize::new(0);

async fn create(spdk: Spdk, params: Create) -> Result<bool, RpcError> {
    MallocBdev::builder(&*params.name)
        .blocks(params.blocks)
        .create(&spdk)
        .await?;
    Ok(true)
}

const CREATE: Method = rpc::method("test_create", State::Runtime, create);

async fn early(_spdk: Spdk, (): ()) -> Result<bool, RpcError> {
    EARLY.fetch_add(1, Ordering::Relaxed);
    Ok(true)
}

const EARLY_METHOD: Method = rpc::method("test_early", State::Startup, early);

async fn early_waits(_spdk: Spdk, (): ()) -> Result<bool, RpcError> {
    yield_now().await;
    Ok(true)
}

const EARLY_WAITS: Method = rpc::method("test_early_waits", State::Startup, early_waits);

fn config(entries: &str) -> String {
    format!(r#"{{"subsystems": [{{"subsystem": "bdev", "config": [{entries}]}}]}}"#)
}

#[test]
fn a_configuration_calls_methods_before_main_runs() {
    in_process("a_configuration_calls_methods_before_main_runs", || {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("rpc.sock");
        app()
            .rpc(CREATE)
            .rpc(EARLY_METHOD)
            .rpc(NOTHING)
            .rpc_socket(&socket)
            .config_json(config(
                r#"{"method": "test_create", "params": {"name": "disk0", "blocks": 8}},
                   {"method": "test_early"}, {"method": "test_nothing", "params": {}}"#,
            ))
            .run(async |spdk| {
                assert_eq!(EARLY.load(Ordering::Relaxed), 1);
                let desc = BdevDesc::open(&spdk, "disk0").read_only().unwrap();
                assert_eq!(desc.num_blocks(), Blocks(8));
                desc.close().await;
                let socket = socket.clone();
                beside(move || {
                    let mut client = Client::connect(socket).unwrap();
                    assert_eq!(code(client.call("test_early", &())), INVALID_STATE);
                    let again = json!({"name": "disk0", "blocks": 8});
                    let (code, text) = failure(client.call("test_create", &again));
                    assert_eq!(code, -i64::from(libc::EEXIST));
                    assert!(text.contains("disk0"), "{text}");
                })
                .await;
            })
            .unwrap();
    });
}

#[test]
fn r3_a_configuration_whose_method_fails_ends_the_start_in_order() {
    in_process(
        "r3_a_configuration_whose_method_fails_ends_the_start_in_order",
        || {
            let outcome = app()
                .rpc(CREATE)
                .config_json(config(
                    r#"{"method": "test_create", "params": {"name": "disk0", "blocks": 8}},
                   {"method": "test_create", "params": {"name": "disk1", "blocks": "8"}}"#,
                ))
                .run(async |_spdk| ());
            assert!(matches!(outcome, Err(AppError::Start(_))), "{outcome:?}");
            assert!(
                spdk_safe::thread::app().is_none_or(|app| !app.is_open()),
                "the app thread was let go"
            );
        },
    );
}

#[test]
fn a_method_of_the_startup_cant_wait() {
    in_process("a_method_of_the_startup_cant_wait", || {
        let outcome = app()
            .rpc(EARLY_WAITS)
            .config_json(config(r#"{"method": "test_early_waits"}"#))
            .run(async |_spdk| ());
        assert!(matches!(outcome, Err(AppError::Start(_))), "{outcome:?}");
    });
}

#[derive(Deserialize)]
struct Delete {
    name: String,
}

async fn delete(spdk: Spdk, params: Delete) -> Result<bool, RpcError> {
    MallocBdev::delete(&spdk, &params.name).await?;
    Ok(true)
}

#[test]
fn r2_deleting_what_is_not_there_or_goes_already_is_an_error() {
    in_process(
        "r2_deleting_what_is_not_there_or_goes_already_is_an_error",
        || {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("rpc.sock");
            app()
                .rpc(CREATE)
                .rpc(rpc::method("test_delete", State::Runtime, delete))
                .rpc_socket(&socket)
                .run(async |spdk| {
                    let path = socket.clone();
                    beside(move || {
                        let mut client = Client::connect(path).unwrap();
                        let disk0 = json!({"name": "disk0"});
                        let nodev = -i64::from(libc::ENODEV);
                        assert_eq!(code(client.call("test_delete", &disk0)), nodev);
                        let create = json!({"name": "disk0", "blocks": 8});
                        client.call::<_, bool>("test_create", &create).unwrap();
                    })
                    .await;
                    // In use: the deletion waits for the descriptor, and a second one is refused.
                    let desc = BdevDesc::open(&spdk, "disk0").read_only().unwrap();
                    let path = socket.clone();
                    let first = std::thread::spawn(move || {
                        let mut client = Client::connect(path).unwrap();
                        client
                            .call::<_, bool>("test_delete", &json!({"name": "disk0"}))
                            .unwrap()
                    });
                    while !desc.is_removed() {
                        yield_now().await;
                    }
                    let path = socket.clone();
                    beside(move || {
                        let mut client = Client::connect(path).unwrap();
                        let code = code(client.call("test_delete", &json!({"name": "disk0"})));
                        assert!(
                            [-libc::EBUSY, -libc::ENODEV].contains(&(code as i32)),
                            "{code}"
                        );
                    })
                    .await;
                    desc.close().await;
                    assert!(beside(move || first.join().unwrap()).await);
                })
                .unwrap();
        },
    );
}

mod c_application {
    //! Somebody else's application in C, into which methods of ours are linked.

    use super::*;
    use std::ffi::{CString, c_void};
    use std::sync::OnceLock;

    async fn linked(spdk: Spdk, params: Create) -> Result<String, RpcError> {
        MallocBdev::builder(&*params.name)
            .blocks(params.blocks)
            .create(&spdk)
            .await?;
        yield_now().await;
        // Left open: the end of the application closes it.
        std::mem::forget(BdevDesc::open(&spdk, &params.name).read_only()?);
        Ok(params.name)
    }

    static LINKED: Method = rpc::method("test_linked", State::Runtime, linked);
    static HANGS: Method = rpc::method("test_hangs", State::Runtime, hangs);
    spdk_safe::register_rpc!(LINKED, HANGS);

    async fn hangs(_spdk: Spdk, (): ()) -> Result<(), RpcError> {
        WAITING.store(1, Ordering::Release);
        pending().await
    }

    static SOCKET: OnceLock<PathBuf> = OnceLock::new();

    /// # Safety
    ///
    /// SPDK calls this on its app thread, when it is up.
    unsafe extern "C" fn start(_ctx: *mut c_void) {
        std::thread::spawn(|| {
            let socket = SOCKET.get().unwrap();
            let mut client = Client::connect(socket).unwrap();
            let params = json!({"name": "disk0", "blocks": 8});
            let name: String = client.call("test_linked", &params).unwrap();
            assert_eq!(name, "disk0");
            let hangs = Client::connect(socket).unwrap();
            let hanging = std::thread::spawn(move || {
                let mut hangs = hangs;
                hangs.call::<_, Value>("test_hangs", &()).unwrap_err()
            });
            wait_until(|| WAITING.load(Ordering::Acquire) == 1);
            // As such an application is ended.
            // SAFETY: SPDK runs; this may be called anywhere.
            unsafe { spdk_sys::spdk_app_start_shutdown() };
            hanging.join().unwrap();
        });
    }

    #[test]
    fn methods_are_linked_into_a_c_application() {
        in_process(
            "c_application::methods_are_linked_into_a_c_application",
            || {
                let folder = tempfile::tempdir().unwrap();
                let socket = folder.path().join("rpc.sock");
                let path = CString::new(socket.to_str().unwrap()).unwrap();
                SOCKET.set(socket).unwrap();
                let opts = spdk_sys::spdk_shim_app_opts {
                    name: c"c-app".as_ptr(),
                    reactor_mask: c"0x1".as_ptr(),
                    rpc_addr: path.as_ptr(),
                    json_config_file: std::ptr::null(),
                    env_context: std::ptr::null(),
                    mem_size_mib: 512,
                    log_level: 1,
                    no_huge: true,
                    no_pci: true,
                    share_cores: true,
                    wait_for_rpc: false,
                    interrupt_mode: false,
                    msg_mempool_size: 0,
                    shutdown_cb: None,
                };
                // SAFETY: SPDK was not started in this process; the options live across the call.
                let rc = unsafe {
                    spdk_sys::spdk_shim_app_start(&opts, Some(start), std::ptr::null_mut())
                };
                assert_eq!(rc, 0);
                // SAFETY: the reactors have stopped.
                unsafe { spdk_sys::spdk_app_fini() };
            },
        );
    }
}

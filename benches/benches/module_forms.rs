//! What a request costs in each form of a block device: the same device, one I/O below for each read, over one malloc
//! bdev and under one client.
//!
//! `cargo bench -p spdk-benches --bench module_forms` measures time; with `-- count` valgrind counts instructions,
//! which repeat. `docs/executor.md` has a table.

use std::error::Error;
use std::future::Future;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use futures::future::join_all;
use spdk_benches::client::{app, count_begin, count_end};
use spdk_exec::spdk::{Async, AsyncBlockDevice, Attached, attach};
use spdk_safe::bdev::SharedDesc;
use spdk_safe::module::{
    BdevModule, BlockDevice, BlockDeviceBuilder, Children, ReadRequest, Request, RequestStatus,
    TaskRequest,
};
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"forms")
    .device::<Async<AsyncForward>>()
    .device::<Async<AsyncClient>>();

const BLOCKS: Blocks = Blocks(1024);
/// 4 KiB.
const IO: Blocks = Blocks(8);
const FEW: u32 = 5_000;
const ROUNDS: usize = 21;

const FORMS: [&str; 7] = [
    "malloc",
    "forward",
    "children",
    "two-children",
    "async-forward",
    "async-client",
    "boxed",
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Leg = IoChannel<ReadWrite>;

struct Forward(SharedDesc<ReadWrite>);

impl BlockDevice for Forward {
    type Channel = Leg;

    fn create_channel(&self) -> std::result::Result<Leg, ChannelError> {
        self.0.channel()
    }

    fn submit(&self, leg: &Rc<Leg>, request: Request) {
        if let Request::Read(read) = request {
            let lba = read.lba();
            read.forward(leg, lba, ReadRequest::complete);
        }
    }
}

struct WithChildren(SharedDesc<ReadWrite>);

/// Remembers a failure.
struct Failed(std::cell::Cell<bool>);

impl Children<ReadRequest> for Failed {
    fn ended(&self, _: u8, result: std::result::Result<(), IoError>) {
        self.0.set(self.0.get() | result.is_err());
    }

    fn all_ended(self, request: ReadRequest) {
        request.complete(match self.0.get() {
            false => RequestStatus::Success,
            true => RequestStatus::Failed,
        });
    }
}

impl BlockDevice for WithChildren {
    type Channel = Leg;

    fn create_channel(&self) -> std::result::Result<Leg, ChannelError> {
        self.0.channel()
    }

    fn submit(&self, leg: &Rc<Leg>, request: Request) {
        if let Request::Read(read) = request {
            let lba = read.lba();
            let children = read.children(Failed(false.into()));
            children.read(leg, lba, 0);
            children.submit();
        }
    }
}

/// As a mirror writes: the same from two legs, which are one here.
struct WithTwo(SharedDesc<ReadWrite>);

impl BlockDevice for WithTwo {
    type Channel = [Leg; 2];

    fn create_channel(&self) -> std::result::Result<[Leg; 2], ChannelError> {
        Ok([self.0.channel()?, self.0.channel()?])
    }

    fn submit(&self, legs: &Rc<[Leg; 2]>, request: Request) {
        if let Request::Read(read) = request {
            let lba = read.lba();
            let children = read.children(Failed(false.into()));
            for (leg, tag) in legs.iter().zip(0..) {
                children.read(leg, lba, tag);
            }
            children.submit();
        }
    }
}

struct AsyncForward(SharedDesc<ReadWrite>);

impl AsyncBlockDevice for AsyncForward {
    type Channel = Leg;

    fn create_channel(&self) -> std::result::Result<Leg, ChannelError> {
        self.0.channel()
    }

    async fn submit(&self, leg: &Leg, request: TaskRequest<'_>) -> RequestStatus {
        match request {
            TaskRequest::Read(read) => read.forward(leg, read.lba()).await.into(),
            _ => RequestStatus::Failed,
        }
    }
}

struct AsyncClient(SharedDesc<ReadWrite>);

impl AsyncBlockDevice for AsyncClient {
    type Channel = Leg;

    fn create_channel(&self) -> std::result::Result<Leg, ChannelError> {
        self.0.channel()
    }

    async fn submit(&self, leg: &Leg, request: TaskRequest<'_>) -> RequestStatus {
        match request {
            TaskRequest::Read(read) => leg.read(read.lba(), read.data()).await.0.into(),
            _ => RequestStatus::Failed,
        }
    }
}

/// Each request is a task in a box, as one writes it without a form for that.
struct Boxed(SharedDesc<ReadWrite>);

impl BlockDevice for Boxed {
    type Channel = (Leg, Attached);

    fn create_channel(&self) -> std::result::Result<Self::Channel, ChannelError> {
        Ok((self.0.channel()?, attach()?))
    }

    fn submit(&self, channel: &Rc<Self::Channel>, request: Request) {
        let theirs = Rc::clone(channel);
        let mut task = Box::pin(async move {
            if let Request::Read(read) = request {
                let (result, data) = theirs.0.read(read.lba(), read.data()).await;
                drop(data);
                read.complete(result);
            }
        });
        let first = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if first.is_pending() {
            channel.1.spawn(task).detach();
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        [] => times(),
        ["count"] => counts(),
        ["run", form, depth] => run(form, depth),
        _ => Err("usage: module_forms [count]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes all devices; the rest is theirs.
fn with_devices(name: &str, work: impl AsyncFnOnce(Spdk) -> Result<()> + 'static) -> Result<()> {
    app(name).module(&MODULE).run(async |spdk| {
        MallocBdev::builder("malloc")
            .blocks(BLOCKS.0)
            .create(&spdk)
            .await?;
        let base = || -> Result<_> { Ok(BdevDesc::open(&spdk, "malloc").read_write()?.share()) };
        let device = |name| BlockDeviceBuilder::new(name).blocks(BLOCKS);
        let bdevs = [
            device("forward").register(&spdk, &MODULE, Forward(base()?))?,
            device("children").register(&spdk, &MODULE, WithChildren(base()?))?,
            device("two-children").register(&spdk, &MODULE, WithTwo(base()?))?,
            device("async-forward").register(&spdk, &MODULE, Async::new(AsyncForward(base()?)))?,
            device("async-client").register(&spdk, &MODULE, Async::new(AsyncClient(base()?)))?,
            device("boxed").register(&spdk, &MODULE, Boxed(base()?))?,
        ];
        let result = work(spdk.clone()).await;
        for bdev in bdevs {
            bdev.unregister().await;
        }
        MallocBdev::delete(&spdk, "malloc").await?;
        result
    })?
}

/// `count` reads of each of `depth` loops.
async fn reads(channel: &IoChannel, depth: u32, count: u32) -> Result<()> {
    let places = (BLOCKS.0 / IO.0) as u32;
    let loops = (0..depth).map(async |slot| -> Result<()> {
        let mut left = count / depth;
        let mut place = slot;
        let step = move |result: std::result::Result<(), IoError>, _: &mut DmaBuf| {
            left -= 1;
            place = (place + 7) % places;
            (result.is_ok() && left != 0).then_some(Lba(u64::from(place) * IO.0))
        };
        channel
            .read_loop(Lba(0), channel.alloc(IO)?, step)
            .await
            .0?;
        Ok(())
    });
    join_all(loops).await.into_iter().collect()
}

fn run(form: &str, depth: &str) -> Result<()> {
    let (form, depth) = (form.to_owned(), depth.parse()?);
    with_devices("forms-count", async move |spdk| {
        let desc = BdevDesc::open(&spdk, &form).read_only()?;
        let channel = desc.channel()?;
        reads(&channel, depth, FEW).await?;
        let mut can_count = true;
        for count in [FEW, 3 * FEW] {
            can_count &= count_begin();
            reads(&channel, depth, count).await?;
            count_end();
        }
        match can_count {
            true => Ok(()),
            false => Err("built without <valgrind/callgrind.h>: install valgrind".into()),
        }
    })
}

fn counts() -> Result<()> {
    println!("| instructions per read | depth 1 | depth 32 |");
    println!("| --- | ---: | ---: |");
    let mut first = None;
    for form in FORMS {
        let cells = [count(form, 1)?, count(form, 32)?];
        let malloc = *first.get_or_insert(cells);
        println!(
            "| {form} | {:.0} ({:+.0}) | {:.0} ({:+.0}) |",
            cells[0],
            cells[0] - malloc[0],
            cells[1],
            cells[1] - malloc[1]
        );
    }
    Ok(())
}

fn count(form: &str, depth: u32) -> Result<f64> {
    let out = std::env::temp_dir().join(format!("module-forms-{}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["run", form, &depth.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let total = |part: u32| -> Result<f64> {
        let file = out.with_extension(part.to_string());
        let text = std::fs::read_to_string(&file)?;
        std::fs::remove_file(&file)?;
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
        Ok(totals.ok_or("callgrind wrote no totals")?.parse()?)
    };
    let (few, many) = (total(1)?, total(2)?);
    let _ = std::fs::remove_file(&out);
    Ok((many - few) / f64::from(2 * FEW))
}

/// Rounds of all forms in turn; the median of what each took beyond malloc.
fn times() -> Result<()> {
    with_devices("forms", async |spdk| {
        println!("| nanoseconds per 4 KiB read | depth 1 | depth 32 |");
        println!("| --- | ---: | ---: |");
        let mut channels = Vec::new();
        for form in FORMS {
            channels.push(BdevDesc::open(&spdk, form).read_only()?.channel()?);
        }
        let mut table = vec![[0.0; 2]; FORMS.len()];
        for (column, depth) in [1, 32].into_iter().enumerate() {
            let mut rounds = vec![Vec::new(); FORMS.len()];
            for _ in 0..ROUNDS {
                for (channel, round) in channels.iter().zip(&mut rounds) {
                    round.push(turn(channel, depth).await?);
                }
            }
            for (row, mut round) in table.iter_mut().zip(rounds) {
                round.sort_by(f64::total_cmp);
                row[column] = round[ROUNDS / 2];
            }
        }
        for (form, row) in FORMS.iter().zip(&table) {
            println!(
                "| {form} | {:.1} ({:+.1}) | {:.1} ({:+.1}) |",
                row[0],
                row[0] - table[0][0],
                row[1],
                row[1] - table[0][1]
            );
        }
        Ok(())
    })
}

/// Nanoseconds per read.
async fn turn(channel: &IoChannel, depth: u32) -> Result<f64> {
    const READS: u32 = 20_000;
    let began = Instant::now();
    reads(channel, depth, READS).await?;
    let took: Duration = began.elapsed();
    Ok(took.as_secs_f64() * 1e9 / f64::from(READS / depth * depth))
}

//! Steps of a long set-up: a live line on a terminal, plain lines in a log.

use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a log gets a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// "Step n of m", with what the step counts and the time it has taken.
#[derive(Debug)]
pub(crate) struct Progress {
    /// `None` where stderr is no terminal.
    bar: Option<ProgressBar>,
    total: usize,
    step: usize,
    title: String,
    counter: String,
    began: Instant,
    spoke: Instant,
}

impl Progress {
    /// Progress over `total` steps, none of them begun.
    pub(crate) fn new(total: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}");
            bar.set_style(style.expect("the template is well-formed"));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let now = Instant::now();
        let (title, counter) = (String::new(), String::new());
        Self {
            bar,
            total,
            step: 0,
            title,
            counter,
            began: now,
            spoke: now,
        }
    }

    /// Ends the step before this one, if any, and begins step `step`.
    pub(crate) fn step(&mut self, step: usize, title: impl Into<String>) {
        self.end();
        self.step = step;
        self.title = title.into();
        self.counter.clear();
        self.began = Instant::now();
        self.spoke = self.began;
        match &self.bar {
            Some(bar) => {
                bar.reset_elapsed();
                bar.set_message(self.line());
            }
            None => plain(&self.line()),
        }
    }

    /// Says how far the step is: "57/231", "12 of 148 MB", ...
    pub(crate) fn count(&mut self, counter: impl Into<String>) {
        self.counter = counter.into();
        self.tick();
    }

    /// Gives a log its sign of life when it is time; called often.
    pub(crate) fn tick(&mut self) {
        match &self.bar {
            Some(bar) => bar.set_message(self.line()),
            None if self.spoke.elapsed() >= HEARTBEAT => {
                self.spoke = Instant::now();
                plain(&format!(
                    "{} {} s",
                    self.line(),
                    self.began.elapsed().as_secs()
                ));
            }
            None => {}
        }
    }

    /// Ends the current step: it was done.
    pub(crate) fn end(&mut self) {
        if self.step == 0 {
            return;
        }
        self.counter.clear();
        let line = format!(
            "{}: done, {:.1} s",
            self.line(),
            self.began.elapsed().as_secs_f64()
        );
        match &self.bar {
            Some(bar) => bar.println(line),
            None => plain(&line),
        }
        self.step = 0;
    }

    fn line(&self) -> String {
        let space = if self.counter.is_empty() { "" } else { " " };
        format!(
            "[{}/{}] {}{space}{}",
            self.step, self.total, self.title, self.counter
        )
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A log that nobody reads any more is no reason to give up a build, as `eprintln!` would.
fn plain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

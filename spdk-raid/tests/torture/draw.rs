//! What a seed makes of a plan.

use spdk_bdevs::ramdisk::{Action, Fault};
use spdk_safe::prelude::*;
use spdk_safe::test::Random;

use super::plan::{Admin, Deed, DiskPlan, Kind, PRIMARY, Plan, Step, What};
use super::{BLOCKS, ROOM, THREADS, World};

/// How many disks there are beside the legs.
const SPARES: usize = 2;

impl Plan {
    /// That of `seed`.
    pub(crate) fn of(seed: u64, world: &World) -> Self {
        let random = &mut Random::new(!seed);
        let kind = match random.below(400) {
            // Not solved: requests to legs that do not answer have been seen to stay for ever there.
            0 if world.is_short => Kind::Any,
            0 => Kind::Late,
            1..80 => Kind::Storm,
            80..110 => Kind::Grows,
            110..140 => Kind::Corrupt,
            140..180 => Kind::Unequal,
            180..220 => Kind::Fill,
            220..250 => Kind::Mend,
            _ => Kind::Any,
        };
        let mut plan = Self::drawn(random, kind, world);
        if random.one_in(6) && kind != Kind::Late {
            let kinds = [
                Kind::Any,
                Kind::Storm,
                Kind::Fill,
                Kind::Mend,
                Kind::Grows,
                Kind::Unequal,
            ];
            let kind = kinds[random.below(kinds.len())];
            plan.other = Some(Box::new(Self::drawn(random, kind, world)));
        }
        plan
    }

    fn drawn(random: &mut Random, kind: Kind, world: &World) -> Self {
        // One in eight without anything that goes wrong.
        let is_calm =
            random.one_in(8) && !matches!(kind, Kind::Storm | Kind::Late | Kind::Fill | Kind::Mend);
        let legs = 2 + random.below(3);
        let needs_ramdisks = matches!(kind, Kind::Storm | Kind::Grows | Kind::Fill | Kind::Mend);
        let disks: Vec<_> = (0..legs + SPARES)
            .map(|at| DiskPlan {
                is_malloc: random.one_in(4) && !needs_ramdisks,
                is_leg: at < legs,
                more: if random.one_in(3) { 8 } else { 0 },
            })
            .collect();
        let rock = match kind {
            Kind::Storm => None,
            Kind::Corrupt | Kind::Unequal => Some(0),
            // The sources come before it.
            Kind::Fill => Some(legs - 1),
            _ => (is_calm || !random.one_in(3)).then(|| random.below(legs)),
        };
        let refuses = rock.is_some() && !is_calm && kind != Kind::Corrupt && random.one_in(6);
        let resets = !is_calm && !matches!(kind, Kind::Storm | Kind::Late) && random.one_in(6);
        let locks = rock.is_some() && random.one_in(3) && !world.is_short;
        let lanes = match random.one_in(if world.is_short { 2 } else { 3 }) {
            true => world.lanes,
            false => world.lanes.min(3),
        };
        let mut plan = Self {
            kind,
            lanes,
            is_short: world.is_short,
            rock,
            locks,
            refuses,
            missing: kind == Kind::Fill || (random.one_in(4) && kind != Kind::Grows),
            policy: random.below(3),
            window: match kind {
                Kind::Fill => [1, 3, 8][random.below(3)],
                _ => window(random),
            },
            bandwidth: match kind {
                Kind::Fill => [0, 3000, 10_000][random.below(3)],
                _ => [0, 0, 1000, 5000][random.below(4)],
            },
            persist: match kind {
                Kind::Fill => 100 + random.below(700),
                _ => random.below(40),
            },
            forgets: if random.one_in(10) && !is_calm { 3 } else { 0 },
            last_scrub: random.one_in(2).then(|| random.one_in(2)),
            faults: Vec::new(),
            steps: Vec::new(),
            admin: Vec::new(),
            disks,
            other: None,
        };
        if !is_calm {
            plan.draw_faults(random);
        }
        plan.draw_steps(random, resets);
        plan.draw_admin(random, is_calm);
        plan
    }

    fn draw_faults(&mut self, random: &mut Random) {
        let ramdisks = self.disks.iter().enumerate();
        let ramdisks = ramdisks
            .filter(|(_, disk)| !disk.is_malloc)
            .map(|(at, _)| at);
        let ramdisks: Vec<_> = ramdisks.collect();
        let rock = self.rock;
        match self.kind {
            Kind::Storm => {
                for at in ramdisks {
                    for io in [IoType::WriteZeroes, IoType::Unmap] {
                        let action = Action::Short(Blocks(random.below(6) as u64));
                        self.faults.push((at, Fault::new(action).io(io).always()));
                    }
                    // What makes them equal again takes its time.
                    for _ in 0..random.below(4) {
                        let action = Action::DelayPolls(1 + random.below(200) as u32);
                        let fault =
                            Fault::new(action).io([IoType::Read, IoType::Write][random.below(2)]);
                        let fault = fault
                            .after(random.below(30) as u64)
                            .times(1 + random.below(8) as u64);
                        self.faults.push((at, fault));
                    }
                }
                return;
            }
            Kind::Corrupt => {
                for &at in ramdisks.iter().filter(|&&at| Some(at) != rock) {
                    for _ in 0..random.below(4) {
                        let fault = Fault::new(Action::Corrupt)
                            .io([IoType::Read, IoType::Write][random.below(2)]);
                        let fault = fault
                            .after(random.below(60) as u64)
                            .times(1 + random.below(8) as u64);
                        self.faults.push((at, fault));
                    }
                }
            }
            Kind::Fill => {
                for &at in ramdisks.iter().filter(|&&at| Some(at) != rock) {
                    for _ in 0..1 + random.below(3) {
                        let fault = Fault::new([Action::Fail, Action::Abort][random.below(2)]);
                        self.faults
                            .push((at, fault.io(IoType::Write).after(random.below(80) as u64)));
                    }
                }
                return;
            }
            Kind::Mend => {
                for &at in ramdisks.iter().filter(|&&at| Some(at) != rock) {
                    let some = |random: &mut Random, action, io| {
                        let fault = Fault::new(action).io(io).after(random.below(50) as u64);
                        fault.times(1 + random.below(6) as u64)
                    };
                    for _ in 0..3 {
                        let fault = some(random, Action::Fail, IoType::Read);
                        self.faults.push((at, fault));
                        let delay = Action::DelayPolls(1 + random.below(60) as u32);
                        let fault = some(random, delay, IoType::Write);
                        self.faults.push((at, fault));
                    }
                }
                return;
            }
            Kind::Late => {
                let io = [IoType::Read, IoType::Write][random.below(2)];
                let fault = Fault::new(Action::Hold)
                    .io(io)
                    .after(random.below(20) as u64);
                let others = ramdisks.iter().filter(|&&at| Some(at) != rock);
                let held: Vec<_> = others.take(1 + random.below(2)).collect();
                for &at in held {
                    self.faults
                        .push((at, fault.clone().times(1 + random.below(3) as u64)));
                }
            }
            _ => {}
        }
        for &at in &ramdisks {
            for _ in 0..random.below(4) {
                let fault = fault(random, rock == Some(at), self.refuses);
                let is_hold = format!("{fault:?}").contains("Hold");
                if self.kind != Kind::Late || !is_hold {
                    self.faults.push((at, fault));
                }
            }
        }
        // Writes that all legs fail, each of them a bit differently, and again while that is made good.
        if rock.is_none() && random.one_in(2) {
            let (after, times) = (random.below(40) as u64, 1 + random.below(6) as u64);
            for &at in &ramdisks {
                let action = Action::Short(Blocks(random.below(4) as u64));
                let fault = Fault::new(action).io(IoType::Write);
                self.faults.push((at, fault.after(after).times(times)));
            }
        }
    }

    fn draw_steps(&mut self, random: &mut Random, resets: bool) {
        let lanes = self.lanes;
        let places = (0..THREADS).flat_map(|thread| (0..lanes).map(move |lane| (thread, lane)));
        let ops = (4 + random.below(24)) * 4 / (lanes + 1);
        let all = BLOCKS as usize
            + if self.kind == Kind::Grows {
                ROOM as usize
            } else {
                0
            };
        // Small regions make for overlaps.
        let region = match self.kind {
            Kind::Grows => all,
            _ => [8, 16, BLOCKS as usize][random.below(3)],
        };
        // Some ranges come again and again, exactly.
        let often = [0, 1].map(|_| (random.below(region), 1 + random.below(6)));
        for (thread, lane) in places.flat_map(|place| vec![place; ops]) {
            let (first, count) = match random.one_in(3) {
                true => often[random.below(2)],
                false => (random.below(region), 1 + random.below(6)),
            };
            let mut step = Step {
                thread,
                lane,
                what: What::Flush,
                first,
                count: count.min(all - first),
                seed: 0,
            };
            step.what = match self.kind {
                Kind::Storm | Kind::Mend => {
                    // Each lane in a part of its own.
                    let part = BLOCKS as usize / (THREADS * lanes);
                    let from = random.below(part);
                    step.first = (thread * lanes + lane) * part + from;
                    step.count = 1 + random.below(part - from);
                    match self.kind {
                        Kind::Storm => storm(random),
                        _ => mend(random),
                    }
                }
                // A copy does not know where the array ends.
                Kind::Grows => match what(random, step.count, resets, self.locks) {
                    What::Copy(_) => What::Write,
                    what => what,
                },
                _ => what(random, step.count, resets, self.locks),
            };
            if self.is_short && matches!(step.what, What::Compare | What::Copy(_)) {
                // SPDK's own, over reads and writes: they hold a `spdk_bdev_io` each, and wait for another in its queue,
                // where nobody keeps one for them.
                step.what = What::Flush;
            }
            step.seed = random.next();
            self.steps.push(step);
        }
    }

    fn draw_admin(&mut self, random: &mut Random, is_calm: bool) {
        let legs = self.disks.len() - SPARES;
        let count = match self.kind {
            Kind::Storm | Kind::Mend if random.one_in(2) => 0,
            Kind::Fill => random.below(3),
            _ if random.one_in(8) => 0,
            _ => 1 + random.below(8),
        };
        for _ in 0..count {
            let mut deed = deed(random, legs, self.rock, is_calm, self.locks);
            if let (Kind::Corrupt, Deed::Options { policy, .. }) = (self.kind, &mut deed) {
                *policy = PRIMARY;
            }
            // Ranges are dirty for a short time.
            let ends = match self.kind {
                Kind::Storm => [30, 100, 300],
                _ => [30, 300, 1500],
            };
            let pause = below_one_of(random, ends);
            self.admin.push(Admin { pause, deed });
        }
        match self.kind {
            Kind::Fill => {
                for at in 0..legs + SPARES {
                    let at = (legs + at) % (legs + SPARES);
                    if Some(at) != self.rock {
                        let pause = below_one_of(random, [30, 100, 600]);
                        let deed = Deed::Add(at);
                        self.admin.push(Admin { pause, deed });
                    }
                }
            }
            Kind::Grows => {
                let more = 1 + random.below(ROOM as usize) as u64;
                for at in 0..legs + SPARES {
                    let more = if random.one_in(4) { ROOM } else { more };
                    let pause = below_one_of(random, [30, 100, 300]);
                    let place = random.below(self.admin.len() + 1);
                    let deed = Deed::Grow(at, more);
                    self.admin.insert(place, Admin { pause, deed });
                }
            }
            Kind::Corrupt => self.policy = PRIMARY,
            // Time-outs are to be remembered.
            Kind::Late => {
                let unwanted = [Deed::LetGo, Deed::ResetCounters];
                self.admin.retain(|admin| !unwanted.contains(&admin.deed));
            }
            _ => {}
        }
    }
}

/// Small numbers as often as large ones.
fn below_one_of(random: &mut Random, ends: [usize; 3]) -> usize {
    let end = ends[random.below(3)];
    random.below(end)
}

fn storm(random: &mut Random) -> What {
    match random.below(20) {
        0..8 => What::Look(1 + random.below(3)),
        8..11 => What::WriteZeroes,
        11..13 => What::Unmap,
        13..16 => What::Write,
        16 | 17 => What::Pause(random.below(30)),
        18 => What::Reopen,
        _ => What::Read,
    }
}

fn mend(random: &mut Random) -> What {
    match random.below(20) {
        0..8 => What::Read,
        8..16 => What::Write,
        16 => What::WriteZeroes,
        17 | 18 => What::Pause(random.below(30)),
        _ => What::Reopen,
    }
}

fn window(random: &mut Random) -> u64 {
    [1, 3, 8, 64][random.below(4)]
}

fn what(random: &mut Random, count: usize, resets: bool, locks: bool) -> What {
    match random.below(24) {
        0..7 => What::Read,
        7..14 => What::Write,
        14 => What::Unmap,
        15 => What::WriteZeroes,
        16 => What::Compare,
        17 if locks => What::CompareAndWrite,
        18 => What::Copy(random.below(BLOCKS as usize - count + 1)),
        19 | 20 => What::Pause(below_one_of(random, [10, 100, 600])),
        17 | 21 if !locks && !resets => What::Reopen,
        22 if resets && random.one_in(3) => What::Reset,
        _ => What::Flush,
    }
}

fn deed(random: &mut Random, legs: usize, rock: Option<usize>, is_calm: bool, locks: bool) -> Deed {
    let all = legs + SPARES;
    // Not the rock.
    let disk = |random: &mut Random| {
        let at = random.below(all);
        if Some(at) == rock { (at + 1) % all } else { at }
    };
    match random.below(23) {
        20 => Deed::PauseJobs,
        21 => Deed::ResumeJobs,
        22 => Deed::AbortJobs,
        0..3 => Deed::Remove(disk(random)),
        3..8 => Deed::Add(disk(random)),
        8..10 => Deed::Replace(disk(random), disk(random)),
        10..13 => Deed::Pull(disk(random)),
        13..15 => Deed::Scrub {
            repair: random.one_in(2),
        },
        15 | 16 => Deed::Options {
            policy: random.below(3),
            window: window(random),
            bandwidth: [0, 0, 100, 5000][random.below(4)],
            patience: [0, 30, 600][random.below(3)],
        },
        17 if !locks && random.one_in(2) => Deed::Delete,
        18 if !is_calm => Deed::Faults,
        19 => Deed::LetGo,
        _ => Deed::ResetCounters,
    }
}

fn fault(random: &mut Random, is_rock: bool, refuses: bool) -> Fault {
    let io = [
        IoType::Read,
        IoType::Write,
        IoType::Write,
        IoType::Unmap,
        IoType::WriteZeroes,
        IoType::Flush,
    ][random.below(6)];
    let action = match random.below(20) {
        0..4 => Action::DelayPolls(random.below(30) as u32),
        4..6 => Action::DelayPolls(random.below(400) as u32),
        6..9 => Action::NoMemory,
        _ if is_rock => Action::DelayPolls(random.below(60) as u32),
        9 | 10 if refuses => Action::Nvme { sct: 0, sc: 2 },
        9..12 => Action::Fail,
        12 => Action::Nvme { sct: 2, sc: 0x81 },
        13 => Action::Abort,
        14 | 15 => Action::Short(Blocks(random.below(4) as u64)),
        16..19 => Action::Hold,
        _ => Action::Remove,
    };
    let fault = Fault::new(action)
        .after(random.below(40) as u64)
        .times(1 + random.below(8) as u64);
    let fault = match random.one_in(3) {
        true => fault,
        false => fault.io(io),
    };
    match random.one_in(3) {
        true => fault.range(Lba(random.below(BLOCKS as usize) as u64), Blocks(3)),
        false => fault,
    }
}

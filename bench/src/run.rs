//! A run from its arguments to its report.

use std::{
    io,
    time::{Duration, Instant},
};

use klamm_wire::ApiKey;

use crate::{
    admin::{Askers, Creators},
    arguments::{Command, Load as LoadArguments},
    catalog,
    clock::Clock,
    control::{Control, LogEnd, address_of},
    drive::{Course, Load, Party, Role, drive},
    fetch::{Consumers, Window},
    groups::Groups,
    pool::Pool,
    problem::Problem,
    produce::{Producers, Sender},
    report::{CatchUp, Report, print_json, tell_as_json},
    schedule::{Random, Schedule},
    steering::{Steering, Told},
    storm::{idle, storm},
    tail::{Route, Tail, Until},
    topics::Topics,
    verify,
    workload::{Account, Arrivals, Mode, Pace, Proof, Workload},
};

/// Longest measurement of the quiet load before readers catch up, in seconds.
const QUIET_SECONDS_MAX: f64 = 60.0;

/// Seed of random arrivals: the same plan in every run.
const ARRIVALS_SEED: u64 = 1;

/// Does what the command line asks for, and prints the result.
///
/// # Errors
/// See [`Problem`]: the run is void.
pub fn run(command: &Command) -> Result<(), Problem> {
    let Some((load, workload)) = command.workload()? else {
        print!("{}", catalog::table());
        return Ok(());
    };
    let mut steering = Steering::Clock {
        warm_up: Duration::from_secs_f64(workload.warm_up_seconds),
        measure: Duration::from_secs_f64(workload.seconds),
    };
    if load.steered {
        steering = Steering::by_lines();
    }
    let mut tell = |told: Told| {
        if load.json {
            tell_as_json(told);
        }
    };
    let report = perform(load, &workload, &steering, &mut tell)?;
    report.write(&load.outputs)?;
    if load.json {
        print_json(&report);
    } else {
        print!("{}", report.table());
    }
    match report.dropped {
        // A judge that steers reads it in the result.
        Some(why) if !load.json => Err(Problem::Dropped(why)),
        _ => Ok(()),
    }
}

/// Runs a workload; `tell` hears what happens meanwhile.
///
/// # Errors
/// See [`Problem`]: the run is void.
pub(crate) fn perform(
    load: &LoadArguments,
    workload: &Workload,
    steering: &Steering,
    tell: &mut dyn FnMut(Told),
) -> Result<Report, Problem> {
    let address = address_of(&load.bootstrap)?;
    let control = Control::connect(address)?;
    let clock = Clock::now();
    let mut runs = Random::new(clock.unix_ns(Instant::now()) ^ u64::from(std::process::id()));
    let mut bystanders = Vec::new();
    for _ in 0..workload.idle_connections {
        bystanders.push(Control::connect(address).map_err(with_cure)?);
    }
    let mut session = Session {
        control,
        workload,
        clock,
        runs: &mut runs,
        course: Course {
            address,
            interval: Duration::from_millis(load.interval_ms),
            subject: 0,
        },
        steering,
        tell,
    };
    session.perform().map_err(with_cure)
}

/// Adds what to do where a process may not open enough sockets.
fn with_cure(problem: Problem) -> Problem {
    const TOO_MANY_OPEN_FILES: i32 = 24;
    match problem {
        Problem::Io(error) if error.raw_os_error() == Some(TOO_MANY_OPEN_FILES) => {
            let text = format!("{error}: raise `ulimit -n` above the number of connections");
            Problem::Io(io::Error::new(error.kind(), text))
        }
        other => other,
    }
}

struct Session<'s> {
    control: Control,
    workload: &'s Workload,
    clock: Clock,
    runs: &'s mut Random,
    course: Course,
    steering: &'s Steering,
    tell: &'s mut dyn FnMut(Told),
}

impl Session<'_> {
    fn perform(&mut self) -> Result<Report, Problem> {
        match self.workload.mode {
            Mode::Produce | Mode::Requests => self.produce_and_more(),
            Mode::Fetch => self.fetch(),
            Mode::Idle => {
                let connections = self.workload.connections;
                let outcome = idle(self.course, connections, self.steering, self.tell)?;
                Ok(Report::new(self.workload, 0, 0.0, vec![outcome]))
            }
            Mode::Reconnect => {
                let connections = self.workload.connections;
                let outcome = storm(self.course, connections, self.steering, self.tell)?;
                Ok(Report::new(self.workload, 0, 0.0, vec![outcome]))
            }
            Mode::CreateTopics => self.create_topics(),
            Mode::Metadata => self.metadata(),
            Mode::Groups => self.groups(),
        }
    }

    fn run_id(&mut self) -> u32 {
        u32::try_from(self.runs.bits() >> 32).expect("32 bits")
    }

    fn delete(&mut self, topics: &Topics) -> Result<(), Problem> {
        if self.workload.delete_topic {
            let names = topics.list().iter().map(|topic| topic.name.clone());
            self.control.delete_topics(&names.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Fills empty topics, where the workload wants them full.
    fn fill(&mut self, topics: &Topics) -> Result<(), Problem> {
        let ends = self.control.offsets(topics, LogEnd::HighWatermark)?;
        if self.workload.fill_bytes > 0 && ends.iter().all(|&end| end == 0) {
            let filling = Workload {
                mode: Mode::Produce,
                connections: 1,
                depth: 4,
                partitions_per_request: 1,
                arrivals: Arrivals::Closed,
                pace: Pace::Closed,
                consumers: 0,
                catch_up: 0,
                idempotent: false,
                requests_max: None,
                account: Account::Produced,
                proof: Proof::Count,
                ..self.workload.clone()
            };
            let steering = Steering::Bytes(filling.fill_bytes);
            let mut part = Session {
                control: Control::connect(self.course.address)?,
                workload: &filling,
                steering: &steering,
                tell: &mut |_| {},
                clock: self.clock,
                runs: &mut *self.runs,
                course: self.course,
            };
            part.produce(topics, Beside::Nobody)?;
        }
        if self.workload.drop_caches {
            drop_caches()?;
        }
        Ok(())
    }

    fn produce_and_more(&mut self) -> Result<Report, Problem> {
        let topics = self.control.ensure_topics(self.workload)?;
        self.fill(&topics)?;
        let report = if self.workload.catch_up == 0 {
            self.produce(&topics, Beside::Nobody)?
        } else {
            let quiet = self.quiet(&topics)?;
            let mut report = self.produce(&topics, Beside::CatchUp)?;
            if let Some(catch_up) = &mut report.catch_up {
                catch_up.quiet_latency_us = Some(quiet.latency_us);
                catch_up.quiet_end_to_end_us = quiet.end_to_end_us;
            }
            report
        };
        self.delete(&topics)?;
        Ok(report)
    }

    /// The same load without readers that catch up, for comparison.
    fn quiet(&mut self, topics: &Topics) -> Result<Report, Problem> {
        let steering = Steering::Clock {
            warm_up: Duration::from_secs_f64(self.workload.warm_up_seconds),
            measure: Duration::from_secs_f64(self.workload.seconds.min(QUIET_SECONDS_MAX)),
        };
        let mut part = Session {
            control: Control::connect(self.course.address)?,
            workload: self.workload,
            steering: &steering,
            tell: &mut |_| {},
            clock: self.clock,
            runs: &mut *self.runs,
            course: self.course,
        };
        part.produce(topics, Beside::Nobody)
    }

    fn produce(&mut self, topics: &Topics, beside: Beside) -> Result<Report, Problem> {
        let workload = self.workload;
        let version = self.control.version(ApiKey::Produce)?;
        let before = self.control.offsets(topics, LogEnd::HighWatermark)?;
        let pool = Pool::new(workload, topics, version, self.clock.timestamp())?;
        let rate = request_rate(workload, &pool);
        let run = self.run_id();
        let sender = Sender {
            run,
            clock: self.clock,
            stamped: workload.stamped(),
            producers: self.producer_ids()?,
            requests_max: workload.requests_max.unwrap_or(u64::MAX),
        };
        let mut producers = Producers::new(pool, version, topics, workload.connections, sender);
        let fetch_version = self.control.version(ApiKey::Fetch)?;
        let tail =
            |route: &Route| Tail::new(workload, topics, fetch_version, route, (run, self.clock));
        let mut following = tail(&Route {
            from: before.clone(),
            ends: before.clone(),
            until: Until::Finished,
            consumers: workload.consumers,
            shares: workload.consumer_connections,
        });
        let start = self.control.offsets(topics, LogEnd::Start)?;
        let mut catching_up = tail(&Route {
            from: start.clone(),
            ends: before.clone(),
            until: Until::CaughtUp,
            consumers: workload.catch_up,
            shares: workload.consumer_connections,
        });
        let mut parties = vec![Party {
            load: &mut producers,
            connections: workload.connections,
            depth: workload.depth,
            schedule: Schedule::of(workload.arrivals, rate, ARRIVALS_SEED),
            role: Role::Leads,
            linger: Duration::from_secs_f64(workload.linger_ms / 1000.0),
        }];
        if workload.consumers > 0 {
            let connections = workload.consumers * workload.consumer_connections;
            parties.push(alone(&mut following, connections, Role::Follows));
        }
        if beside == Beside::CatchUp {
            let connections = workload.catch_up * workload.consumer_connections;
            parties.push(alone(&mut catching_up, connections, Role::CatchesUp));
        }
        let course = Course {
            subject: usize::from(workload.account == Account::Consumed),
            ..self.course
        };
        let mut outcomes = drive(course, parties, self.steering, self.tell)?;
        let verified = verify::prove(&mut self.control, topics, workload, &before, &producers)?;
        let caught_up = (beside == Beside::CatchUp)
            .then(|| outcomes.pop())
            .flatten();
        let mut report = Report::new(workload, version, rate, outcomes);
        report.subject(course.subject);
        report.end_to_end(following.end_to_end());
        report.verified = Some(verified);
        if let Some(outcome) = caught_up {
            let start_after = self.control.offsets(topics, LogEnd::Start)?;
            let moved = start_after.iter().zip(&start);
            let deleted_records = moved.map(|(after, before)| after - before).sum();
            let done = catching_up.is_caught_up();
            report.catch_up = Some(CatchUp {
                deleted_records,
                overtaken: catching_up.overtaken(),
                ..CatchUp::new(&outcome, workload.catch_up, done)
            });
        }
        Ok(report)
    }

    fn producer_ids(&mut self) -> Result<Option<Vec<(i64, i16)>>, Problem> {
        if !self.workload.idempotent {
            return Ok(None);
        }
        let ids = (0..self.workload.connections).map(|_| self.control.producer_id());
        ids.collect::<Result<_, _>>().map(Some)
    }

    fn fetch(&mut self) -> Result<Report, Problem> {
        let workload = self.workload;
        let topics = self.control.ensure_topics(workload)?;
        self.fill(&topics)?;
        let end = self.control.offsets(&topics, LogEnd::HighWatermark)?;
        let start = self.control.offsets(&topics, LogEnd::Start)?;
        if end.iter().zip(&start).any(|(end, start)| end == start) {
            let text = "a partition is empty: set fill-bytes";
            return Err(Problem::Workload(text.to_owned()));
        }
        let version = self.control.version(ApiKey::Fetch)?;
        let mut consumers = Consumers::new(workload, &topics, version, Window { start, end })?;
        let party = alone(&mut consumers, workload.connections, Role::Leads);
        let outcomes = drive(self.course, vec![party], self.steering, self.tell)?;
        self.delete(&topics)?;
        Ok(Report::new(workload, version, 0.0, outcomes))
    }

    fn create_topics(&mut self) -> Result<Report, Problem> {
        let workload = self.workload;
        let version = self.control.version(ApiKey::CreateTopics)?;
        let run = self.run_id();
        // Tells of a bad setting now.
        crate::control::create_request(&[], workload)?;
        let mut creators = Creators::new(workload, version, run);
        let party = self.administrating(&mut creators)?;
        let outcomes = drive(self.course, vec![party], self.steering, self.tell)?;
        let mut report = Report::new(workload, version, plain_rate(workload), outcomes);
        if workload.delete_topic {
            let began = Instant::now();
            self.control.delete_topics(creators.created())?;
            report.deleted_in_seconds = Some(began.elapsed().as_secs_f64());
        }
        Ok(report)
    }

    fn metadata(&mut self) -> Result<Report, Problem> {
        let workload = self.workload;
        let topics = self.control.ensure_topics(workload)?;
        let version = self.control.version(ApiKey::Metadata)?;
        let mut askers = Askers::new(workload, &topics, version)?;
        let party = self.administrating(&mut askers)?;
        let outcomes = drive(self.course, vec![party], self.steering, self.tell)?;
        self.delete(&topics)?;
        Ok(Report::new(
            workload,
            version,
            plain_rate(workload),
            outcomes,
        ))
    }

    fn groups(&mut self) -> Result<Report, Problem> {
        // Each run has groups and a topic of its own: that of another has other partitions.
        let named = Workload {
            topic: format!("{}-{:08x}", self.workload.topic, self.run_id()),
            ..self.workload.clone()
        };
        let topics = self.control.ensure_topics(&named)?;
        let topic = &topics.list()[0];
        let topic = (topic.name.clone(), topic.id);
        let groups = Groups::new(
            self.workload,
            self.course,
            &mut self.control,
            self.runs,
            topic,
            self.tell,
        )?;
        let (outcome, results) = groups.run()?;
        let mut report = Report::new(self.workload, 0, 0.0, vec![outcome]);
        report.groups = results;
        self.delete(&topics)?;
        Ok(report)
    }

    fn administrating<'l>(&self, load: &'l mut dyn Load) -> Result<Party<'l>, Problem> {
        let rate = plain_rate(self.workload);
        if rate <= 0.0 && self.workload.pace != Pace::Closed {
            let text = "this mode knows requests only: give rate";
            return Err(Problem::Workload(text.to_owned()));
        }
        Ok(Party {
            depth: self.workload.depth,
            schedule: Schedule::of(self.workload.arrivals, rate, ARRIVALS_SEED),
            ..alone(load, self.workload.connections, Role::Leads)
        })
    }
}

/// Who else is there while records are produced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Beside {
    /// Only the consumers that follow.
    Nobody,
    /// Readers that begin at the start.
    CatchUp,
}

/// A closed loop with one request in flight.
fn alone(load: &mut dyn Load, connections: usize, role: Role) -> Party<'_> {
    Party {
        load,
        connections,
        depth: 1,
        schedule: None,
        role,
        linger: Duration::ZERO,
    }
}

fn plain_rate(workload: &Workload) -> f64 {
    match workload.pace {
        Pace::Requests(rate) => rate,
        Pace::Closed | Pace::Records(_) | Pace::Bytes(_) => 0.0,
    }
}

/// Requests per second that make up the workload's pace; 0 for a closed loop.
fn request_rate(workload: &Workload, pool: &Pool) -> f64 {
    let (records, bytes) = pool.mean_request();
    match workload.pace {
        Pace::Closed => 0.0,
        Pace::Requests(rate) => rate,
        Pace::Records(rate) => rate / records,
        Pace::Bytes(rate) => rate / bytes,
    }
}

/// Lets the kernel forget the page cache, dirty pages written first.
fn drop_caches() -> Result<(), Problem> {
    let synced = std::process::Command::new("sync").status()?;
    if !synced.success() {
        return Err(Problem::Io(io::Error::other("sync failed")));
    }
    std::fs::write("/proc/sys/vm/drop_caches", "3").map_err(|error| {
        let text = format!("dropping caches needs root: {error}");
        Problem::Io(io::Error::new(error.kind(), text))
    })
}

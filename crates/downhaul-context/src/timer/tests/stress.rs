//! Random tasks that hand timers to each other.

use std::env;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Barrier, mpsc};
use std::thread;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;

const TASKS: usize = 8;
const STEPS: usize = if cfg!(miri) { 20 } else { 400 };
const ROUNDS: usize = if cfg!(miri) { 20 } else { 1_000 };
const SHUTDOWNS: usize = if cfg!(miri) { 4 } else { 200 };

type Passed = (Timer, Instant);

struct Player {
    random: u64,
    held: Vec<Passed>,
    outgoing: UnboundedSender<Passed>,
    incoming: UnboundedReceiver<Passed>,
    shards: Vec<Arc<Shard>>,
}

impl Player {
    fn random(&mut self, below: u64) -> u64 {
        // SplitMix64: any seed will do.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn soon(&mut self) -> Instant {
        Instant::now() + Duration::from_micros(self.random(5_000))
    }

    fn note_shard(&mut self) {
        let here = shard();
        if !self.shards.iter().any(|known| Arc::ptr_eq(known, &here)) {
            self.shards.push(here);
        }
    }

    async fn step(&mut self) {
        match self.random(6) {
            0 | 1 => {
                let (mut timer, due) = (Timer::new(), self.soon());
                poll_fn(|cx| Poll::Ready(timer.poll(due, cx))).await.is_ready();
                self.note_shard();
                self.held.push((timer, due));
            }
            2 => drop(self.held.pop()),
            3 => {
                let due = self.soon();
                if let Some((timer, known)) = self.held.last_mut() {
                    poll_fn(|cx| Poll::Ready(timer.poll(due, cx))).await.is_ready();
                    *known = due;
                    self.note_shard();
                }
            }
            4 => {
                let passed = self.held.pop();
                passed.map(|passed| self.outgoing.send(passed).is_ok());
                self.held.extend(self.incoming.try_recv().ok());
            }
            _ => await_one(self.held.pop()).await,
        }
    }

    async fn play(mut self) -> Vec<Arc<Shard>> {
        for _ in 0..STEPS {
            self.step().await;
        }
        while let Some(held) = self.held.pop() {
            await_one(Some(held)).await;
        }
        self.shards
    }
}

async fn await_one(held: Option<Passed>) {
    if let Some((mut timer, due)) = held {
        poll_fn(|cx| timer.poll(due, cx)).await;
        assert!(Instant::now() >= due);
    }
}

#[test]
fn many_tasks_on_many_threads_lose_no_timer() {
    let seed = seed();
    println!("seed {seed}");
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let shards = runtime.block_on(async {
        let (outgoing, incoming): (Vec<_>, Vec<_>) =
            (0..TASKS).map(|_| unbounded_channel()).unzip();
        let mut players = Vec::new();
        for (number, incoming) in incoming.into_iter().enumerate() {
            let outgoing = outgoing[(number + 1) % TASKS].clone();
            let random = seed.wrapping_add(number as u64);
            let player =
                Player { random, held: Vec::new(), outgoing, incoming, shards: Vec::new() };
            players.push(tokio::spawn(player.play()));
        }
        drop(outgoing);
        let mut shards = Vec::new();
        for player in players {
            shards.extend(player.await.unwrap());
        }
        shards
    });
    assert!(!shards.is_empty());
    assert!(shards.iter().all(|shard| shard.len() == 0));
}

/// Each timer is the first to be due, so each has to move the alarm, which two can want at once.
#[test]
fn the_alarm_is_in_time_whoever_moves_it() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let _current = runtime.enter();
    let due = Instant::now() + 3_600 * SECOND;
    let shard = Shard::new(runtime.handle());
    let (earlier, rounds) = (AtomicUsize::new(0), Barrier::new(2));
    let arm_many = || {
        let mut in_time = true;
        for _ in 0..ROUNDS {
            rounds.wait();
            for _ in 0..5 {
                let earlier = earlier.fetch_add(1, Ordering::SeqCst) as u64;
                let due = due - Duration::from_micros(earlier);
                shard.arm(due.into(), Waker::noop().clone(), runtime.handle()).unwrap();
            }
            rounds.wait();
            in_time &= shard.alarm_is_in_time();
        }
        assert!(in_time);
    };
    thread::scope(|scope| {
        scope.spawn(arm_many);
        arm_many();
    });
}

#[test]
fn a_shutdown_wakes_also_those_that_are_just_being_armed() {
    for _ in 0..SHUTDOWNS {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let handle = runtime.handle().clone();
        let due = Instant::now() + 3_600 * SECOND;
        let (wakes, waker) = waker();
        let (begun, has_begun) = mpsc::channel();
        let arm_many = move || {
            let _current = handle.enter();
            let shard = Shard::new(&handle);
            let arm = |earlier: u32| {
                let due = due - earlier * SECOND / 1_000;
                shard.arm(due.into(), waker.clone(), &handle)
            };
            let count = (1..1_000_000).take_while(|&earlier| {
                let _ = begun.send(());
                arm(earlier).is_some()
            });
            count.count()
        };
        let arming = thread::spawn(arm_many);
        has_begun.recv().unwrap();
        drop(runtime);
        assert_eq!(arming.join().unwrap(), wakes.count());
    }
}

/// Another one each time, unless one is to be tried again.
fn seed() -> u64 {
    let again = env::var("DOWNHAUL_SEED").ok().and_then(|seed| seed.parse().ok());
    again.unwrap_or_else(|| RandomState::new().build_hasher().finish())
}

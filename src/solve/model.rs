//! The solver against a naive one: sequential, without a cache, on the same random plans.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use silt_store::{ContentId, MemoryStore, Store, TreeId, TreeRef};

use super::*;
use crate::oci::config::RunConfig;
use crate::oci::platform::Platform;
use crate::plan::{CopyItem, CopyOp, CopySource, Edge, ImageOp, Network, Plan, RunOp, Security, Vertex};
use crate::progress::Event;
use silt_store::RecordKind;

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Sink for Heard {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

#[derive(Clone)]
struct Fake {
    tree: TreeRef,
    sealed_at: Instant,
}

impl Produced for Fake {
    fn stored(tree: TreeRef) -> Self {
        Self {
            tree,
            sealed_at: Instant::now(),
        }
    }

    fn known(&self) -> Option<TreeRef> {
        (Instant::now() >= self.sealed_at).then_some(self.tree)
    }

    fn seal(&self) -> Result<TreeRef, Failure> {
        thread::sleep(self.sealed_at.saturating_duration_since(Instant::now()));
        Ok(self.tree)
    }
}

/// A world in which commands are functions: what a step gives is a digest of what it is and takes. `constant X` ignores what
/// it takes, `random` does not repeat itself, `fail` fails, `pause` takes a while, `meet N` waits until N steps are at work at once,
/// `stay` until it is cancelled; what waits gives up after `PATIENCE`, and the test fails.
#[derive(Default)]
struct World {
    contexts: BTreeMap<String, u8>,
    clock: AtomicU64,
    performed: Mutex<Vec<String>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// No test waits so long when all is well: it turns a hang into a failure.
const PATIENCE: Duration = Duration::from_mins(1);

impl World {
    /// What a step does before it gives anything.
    fn work(&self, command: &[String], cancel: &Cancel) -> Result<(), Failure> {
        let words: Vec<_> = command.iter().map(String::as_str).collect();
        match *words {
            ["pause"] => thread::sleep(Duration::from_millis(100)),
            ["meet", count, ..] => {
                let count = count.parse().unwrap();
                until(|| self.most_at_once.load(Ordering::SeqCst) >= count);
            }
            ["stay"] => until(|| cancel.is_cancelled()),
            ["fail"] => {
                return Err(Failure::Command {
                    exit: 2,
                    reason: "exit status 2".into(),
                    output: "no\n".into(),
                    kept: None,
                });
            }
            _ => {}
        }
        if cancel.is_cancelled() {
            Err(Failure::Cancelled)
        } else {
            Ok(())
        }
    }

    fn give(&self, op: &Op, outside: &Outside, inputs: &[ContentId]) -> ContentId {
        let mut text = format!("{:?}{:?}", op_parts(op), outside.parts);
        if let Op::Run(run) = op {
            match run.argv[0].as_str() {
                "constant" => return ContentId::of(run.argv[1].as_bytes()),
                "random" => text = self.clock.fetch_add(1, Ordering::SeqCst).to_string(),
                _ => {}
            }
        }
        text.extend(inputs.iter().map(ToString::to_string));
        ContentId::of(text.as_bytes())
    }

    fn outside(&self, op: &Op) -> Outside {
        let parts = match op {
            Op::Copy(CopyOp {
                from: CopySource::Context(name),
                ..
            }) => vec![Part::one("selection", [self.contexts[name]])],
            Op::Image(image) => vec![Part::one("image", &image.reference)],
            _ => vec![],
        };
        Outside { parts, trees: vec![] }
    }

    fn naive(&self, plan: &Plan) -> Vec<ContentId> {
        let mut given: Vec<ContentId> = Vec::new();
        for vertex in &plan.vertices {
            let inputs: Vec<_> = vertex.inputs.iter().map(|edge| given[edge.vertex.0]).collect();
            let outside = if reads_outside(&vertex.op) {
                self.outside(&vertex.op)
            } else {
                Outside::default()
            };
            given.push(self.give(&vertex.op, &outside, &inputs));
        }
        given
    }

    fn performed(&self) -> Vec<String> {
        std::mem::take(&mut self.performed.lock().unwrap())
    }
}

impl Executor for World {
    type Snapshot = Fake;

    fn identify(&self, _: VertexId, op: &Op, _: &dyn Sink, _: &Cancel) -> Result<Outside, Failure> {
        Ok(self.outside(op))
    }

    fn content(&self, _: &Op, _: usize, tree: TreeRef) -> Result<ContentId, Failure> {
        Ok(tree.content)
    }

    fn perform(&self, task: &Task<'_, Fake>) -> Result<Vec<Fake>, Failure> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let worked = match task.op {
            Op::Run(run) => self.work(&run.argv, task.cancel),
            _ => Ok(()),
        };
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        worked?;
        self.performed.lock().unwrap().push(task.name.to_owned());
        let inputs: Vec<_> = task.inputs.iter().map(|input| input.tree.content).collect();
        let content = self.give(task.op, &self.outside(task.op), &inputs);
        let time = self.clock.fetch_add(1, Ordering::SeqCst);
        let tree = TreeRef {
            tree: TreeId::of(format!("{content}{time}").as_bytes()),
            content,
        };
        Ok(vec![Fake {
            tree,
            sealed_at: Instant::now() + Duration::from_millis(time % 4),
        }])
    }
}

fn until(holds: impl Fn() -> bool) {
    let given_up = Instant::now() + PATIENCE;
    while !holds() && Instant::now() < given_up {
        thread::sleep(Duration::from_millis(1));
    }
}

fn platform() -> Platform {
    Platform::parse("linux/amd64").unwrap()
}

fn image(reference: &str) -> Op {
    Op::Image(ImageOp {
        reference: reference.into(),
        platform: platform(),
    })
}

fn run(argv: &[&str]) -> Op {
    Op::Run(RunOp {
        argv: argv.iter().map(ToString::to_string).collect(),
        env: vec![],
        cwd: "/".into(),
        user: String::new(),
        platform: platform(),
        network: Network::Host,
        security: Security::Sandbox,
        extra_hosts: vec![],
        mounts: vec![],
        files: vec![],
    })
}

fn copy(from: CopySource) -> Op {
    Op::Copy(CopyOp {
        from,
        sources: vec![CopyItem::Path(".".into())],
        destination: "/".into(),
        chown: None,
        chmod: None,
        unpack: false,
        unpack_downloads: false,
        add: false,
        link: false,
        parents: false,
        exclude: vec![],
        checksum: None,
    })
}

/// Vertices as (op, inputs); the last one is the result, its chain follows first inputs down to a vertex without any.
fn plan(vertices: Vec<(Op, Vec<usize>)>) -> Plan {
    let edge = |input: &usize| Edge {
        vertex: VertexId(*input),
        output: 0,
    };
    let result = vertices.len() - 1;
    let mut chain = Vec::new();
    let mut at = result;
    while let Some(below) = vertices[at].1.first() {
        chain.insert(0, VertexId(at));
        at = *below;
    }
    let vertices = vertices.into_iter().enumerate().map(|(id, (op, inputs))| Vertex {
        op,
        inputs: inputs.iter().map(edge).collect(),
        name: format!("{id}"),
        lines: None,
        created_by: Some(format!("step {id}")),
        ignore_cache: false,
    });
    Plan {
        vertices: vertices.collect(),
        result: VertexId(result),
        base: None,
        chain,
        config: RunConfig::default(),
        author: String::new(),
        history: vec![],
        platform: platform(),
        proxy: vec![],
        hostname: None,
        source_date_epoch: None,
    }
}

struct Bed {
    store: Arc<dyn Store>,
    world: World,
    flights: Flights<Outcome<Fake>>,
    heard: Heard,
}

impl Bed {
    fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            world: World {
                contexts: BTreeMap::from([("a".into(), 0), ("b".into(), 0)]),
                ..World::default()
            },
            flights: Flights::new(),
            heard: Heard::default(),
        }
    }

    fn solve(&self, plan: &Plan) -> Result<Built, SolveError> {
        self.solve_until(plan, &Cancel::new())
    }

    fn solve_until(&self, plan: &Plan, cancel: &Cancel) -> Result<Built, SolveError> {
        solve(
            plan,
            &Solver {
                store: &self.store,
                executor: &self.world,
                sink: &self.heard,
                cancel,
                flights: &self.flights,
                parallelism: NonZeroUsize::new(8).unwrap(),
            },
        )
    }
}

fn context(name: &str) -> CopySource {
    CopySource::Context(name.into())
}

#[test]
fn a_second_build_works_nothing_and_is_the_same() {
    let bed = Bed::new();
    let plan = plan(vec![
        (image("base"), vec![]),
        (copy(context("a")), vec![0]),
        (run(&["make"]), vec![1]),
        (run(&["install"]), vec![2]),
    ]);
    let first = bed.solve(&plan).unwrap();
    assert_eq!((first.performed, first.cached), (3, 0));
    assert_eq!(bed.world.performed(), ["0", "1", "2", "3"]);
    let second = bed.solve(&plan).unwrap();
    assert_eq!((second.performed, second.cached), (0, 3));
    assert!(bed.world.performed().is_empty(), "not even the image is needed");
    let times = |built: &Built| {
        built
            .chain
            .iter()
            .map(|step| (step.lower, step.upper, step.created))
            .collect::<Vec<_>>()
    };
    assert_eq!(times(&first), times(&second));
}

#[test]
fn a_step_that_gives_the_same_again_lets_the_rest_hit() {
    let mut bed = Bed::new();
    let plan = plan(vec![
        (image("base"), vec![]),
        (copy(context("a")), vec![0]),
        (run(&["constant", "x"]), vec![1]),
        (run(&["install"]), vec![2]),
        (run(&["clean"]), vec![3]),
    ]);
    bed.solve(&plan).unwrap();
    bed.world.performed();
    bed.world.contexts.insert("a".into(), 1);
    let built = bed.solve(&plan).unwrap();
    assert_eq!(bed.world.performed(), ["0", "1", "2"]);
    assert_eq!(
        built.chain.iter().map(|step| step.cached).collect::<Vec<_>>(),
        [false, false, true, true]
    );
}

#[test]
fn a_stage_that_is_not_needed_is_not_touched() {
    let mut bed = Bed::new();
    let plan = plan(vec![
        (image("build"), vec![]),
        (copy(context("a")), vec![0]),
        (run(&["make"]), vec![1]),
        (image("base"), vec![]),
        (copy(CopySource::Input), vec![3, 2]),
        (copy(context("b")), vec![4]),
    ]);
    bed.solve(&plan).unwrap();
    bed.world.performed();
    bed.world.contexts.insert("b".into(), 1);
    let built = bed.solve(&plan).unwrap();
    assert_eq!(bed.world.performed(), ["5"]);
    assert_eq!((built.performed, built.cached), (1, 1));
}

#[test]
fn no_cache_runs_again_and_what_follows_sees_the_new() {
    let bed = Bed::new();
    let mut plan = plan(vec![
        (image("base"), vec![]),
        (run(&["random"]), vec![0]),
        (run(&["make"]), vec![1]),
        (run(&["install"]), vec![2]),
    ]);
    let first = bed.solve(&plan).unwrap();
    bed.world.performed();
    plan.vertices[1].ignore_cache = true;
    let second = bed.solve(&plan).unwrap();
    assert_eq!(bed.world.performed(), ["0", "1", "2", "3"]);
    assert_ne!(first.result.content, second.result.content);
    plan.vertices[1].ignore_cache = false;
    let third = bed.solve(&plan).unwrap();
    assert!(bed.world.performed().is_empty());
    assert_eq!(second.result, third.result);
}

#[test]
fn a_lost_record_in_the_middle_never_mixes_two_builds() {
    let bed = Bed::new();
    let plan = plan(vec![
        (image("base"), vec![]),
        (run(&["random"]), vec![0]),
        (run(&["make"]), vec![1]),
    ]);
    bed.solve(&plan).unwrap();
    let records = bed.store.records(RecordKind::Cache, b"d").unwrap();
    let lost = records
        .iter()
        .find(|(_, record)| String::from_utf8_lossy(&record.value).contains("random"))
        .unwrap();
    bed.store.delete_record(RecordKind::Cache, &lost.0).unwrap();
    let op = bed.store.records(RecordKind::Cache, b"c").unwrap();
    for (key, _) in op {
        bed.store.delete_record(RecordKind::Cache, &key).unwrap();
    }
    let built = bed.solve(&plan).unwrap();
    assert_eq!(built.chain[0].upper.content, built.chain[1].lower.content);
    assert!(built.chain.iter().all(|step| !step.cached));
}

#[test]
fn independent_stages_work_at_once_and_equal_ones_once() {
    let bed = Bed::new();
    let mut vertices = vec![(image("base"), vec![])];
    for name in ["1", "2", "3", "3"] {
        vertices.push((run(&["meet", "3", name]), vec![0]));
    }
    vertices.push((copy(CopySource::Input), vec![1, 2]));
    vertices.push((copy(CopySource::Input), vec![5, 3]));
    vertices.push((copy(CopySource::Input), vec![6, 4]));
    let built = bed.solve(&plan(vertices)).unwrap();
    assert_eq!(bed.world.most_at_once.load(Ordering::SeqCst), 3);
    assert_eq!(bed.world.performed().len(), 7);
    assert_eq!(built.chain.len(), 4);
}

#[test]
fn two_builds_at_once_share_a_vertex_in_flight() {
    let bed = Bed::new();
    let plan = plan(vec![(image("base"), vec![]), (run(&["pause"]), vec![0])]);
    thread::scope(|scope| {
        let builds: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| bed.solve(&plan).unwrap().result))
            .collect();
        let results: Vec<_> = builds.into_iter().map(|build| build.join().unwrap()).collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    });
    let performed = bed.world.performed();
    assert_eq!(
        performed.iter().filter(|name| *name == "1").count(),
        1,
        "{performed:?}"
    );
}

#[test]
fn the_first_failure_cancels_the_rest_and_is_the_builds() {
    let bed = Bed::new();
    let plan = plan(vec![
        (image("base"), vec![]),
        (run(&["stay"]), vec![0]),
        (run(&["fail"]), vec![0]),
        (copy(CopySource::Input), vec![1, 2]),
    ]);
    let error = bed.solve(&plan).unwrap_err();
    assert!(!bed.world.performed().contains(&"1".to_owned()));
    let SolveError::Vertex {
        vertex,
        failure: Failure::Command { exit, output, .. },
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!((vertex, exit, output.as_str()), (VertexId(2), 2, "no\n"));
    assert!(bed.store.records(RecordKind::Cache, b"d").unwrap().is_empty());
}

#[test]
fn a_cancelled_build_ends_its_steps_and_says_so() {
    let bed = Bed::new();
    let plan = plan(vec![(image("base"), vec![]), (run(&["stay"]), vec![0])]);
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let build = scope.spawn(|| bed.solve_until(&plan, &cancel));
        // The image is there, and the command at work.
        until(|| {
            bed.world.performed.lock().unwrap().len() == 1 && bed.world.at_once.load(Ordering::SeqCst) == 1
        });
        cancel.cancel();
        assert!(matches!(build.join().unwrap(), Err(SolveError::Cancelled)));
    });
    assert_eq!(bed.world.performed(), ["0"]);
}

fn ops() -> impl Strategy<Value = (Op, usize)> {
    prop_oneof![
        4 => (0..4_u8).prop_map(|n| (run(&["cmd", &n.to_string()]), 1)),
        1 => (0..2_u8).prop_map(|n| (run(&["constant", &n.to_string()]), 1)),
        2 => prop_oneof![Just("a"), Just("b")].prop_map(|name| (copy(context(name)), 1)),
        2 => Just((copy(CopySource::Input), 2)),
        1 => prop_oneof![Just("x"), Just("y")].prop_map(|name| (image(name), 0)),
    ]
}

fn plans() -> impl Strategy<Value = Plan> {
    prop::collection::vec(
        (
            ops(),
            any::<[prop::sample::Index; 2]>(),
            prop::bool::weighted(0.1),
        ),
        1..12,
    )
    .prop_map(|vertices| {
        let mut list = vec![(image("x"), vec![])];
        let mut ignored = vec![false];
        for ((op, count), inputs, ignore) in vertices {
            let inputs = inputs[..count]
                .iter()
                .map(|index| index.index(list.len()))
                .collect();
            list.push((op, inputs));
            ignored.push(ignore);
        }
        let mut plan = plan(list);
        for (vertex, ignore) in plan.vertices.iter_mut().zip(ignored) {
            vertex.ignore_cache = ignore;
        }
        plan
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn the_solver_agrees_with_a_naive_one(plans in prop::collection::vec((plans(), 0..3_u8, 0..3_u8), 1..6)) {
        let mut bed = Bed::new();
        for (plan, a, b) in plans {
            bed.world.contexts = BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
            let naive = bed.world.naive(&plan);
            let built = bed.solve(&plan).unwrap();
            prop_assert_eq!(built.result.content, naive[plan.result.0]);
            for step in &built.chain {
                prop_assert_eq!(step.upper.content, naive[step.vertex.0]);
                let lower = plan.vertices[step.vertex.0].inputs[0].vertex;
                prop_assert_eq!(step.lower.content, naive[lower.0]);
            }
            let mut again = plan.clone();
            again.vertices.iter_mut().for_each(|vertex| vertex.ignore_cache = false);
            let repeated = bed.solve(&again).unwrap();
            prop_assert_eq!(repeated.performed, 0);
            prop_assert_eq!(repeated.result.content, built.result.content);
        }
    }
}

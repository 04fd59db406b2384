//! Containers whose root is our FUSE mount, as every RUN step's is. Needs /dev/fuse.

use std::io;
use std::sync::{Arc, Mutex};

use silt::sandbox::Stub;
use silt_fuse::{Base, Frozen, Options, Session};
use silt_store::{Edit, Entry, GuestPath, MemoryStore, Meta, Node, Store, Time, TreeRef, blob, root};

use super::*;

fn path(text: &str) -> GuestPath {
    GuestPath::parse(text.as_bytes()).unwrap()
}

fn meta(mode: u16) -> Meta {
    Meta {
        mode,
        mtime: Time {
            seconds: 1_000_000,
            nanos: 5,
        },
        ..Meta::default()
    }
}

/// A tree with a shell and few programs of a Debian root, and no mount points at all.
pub(super) fn small_debian(store: &Arc<dyn Store>, debian: &Path) -> TreeRef {
    let mut edit = Edit::new(Arc::clone(store), root::scratch(&**store).unwrap()).unwrap();
    let library = fs::read_dir(debian.join("usr/lib"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name());
    let library = library
        .map(|name| name.into_string().unwrap())
        .find(|name| name.ends_with("-linux-gnu"))
        .unwrap();
    for directory in [
        "/usr/bin".to_owned(),
        "/usr/lib64".into(),
        format!("/usr/lib/{library}"),
        "/tmp".into(),
    ] {
        edit.make_directories(&path(&directory), &meta(0o755)).unwrap();
    }
    for name in ["bin", "lib", "lib64"] {
        let link = Node::Symlink(format!("usr/{name}").into_bytes().into());
        edit.insert(
            &path(&format!("/{name}")),
            Entry {
                meta: meta(0o777),
                node: link,
            },
        )
        .unwrap();
    }
    let programs = [
        "dash", "sh", "cat", "chown", "ls", "mkdir", "mv", "rm", "sleep", "stat", "touch", "true",
    ];
    let mut files: Vec<String> = programs.iter().map(|name| format!("/usr/bin/{name}")).collect();
    for directory in ["/usr/lib64".to_owned(), format!("/usr/lib/{library}")] {
        for entry in fs::read_dir(debian.join(&directory[1..])).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_symlink() || (kind.is_file() && entry.metadata().unwrap().len() < 3 << 20) {
                files.push(format!("{directory}/{}", entry.file_name().to_str().unwrap()));
            }
        }
    }
    for file in files {
        let host = debian.join(&file[1..]);
        let node = match fs::read_link(&host) {
            Ok(link) => Node::Symlink(link.into_os_string().into_encoded_bytes().into()),
            Err(_) => Node::File(blob::write(&**store, &mut File::open(&host).unwrap()).unwrap()),
        };
        edit.insert(
            &path(&file),
            Entry {
                meta: meta(0o755),
                node,
            },
        )
        .unwrap();
    }
    edit.finish().unwrap()
}

/// A started container, its output, the session of its root.
struct Step {
    running: Running,
    output: File,
    session: Arc<Mutex<Option<Session>>>,
}

fn options(staging: &Path) -> Options {
    Options {
        staging: staging.to_owned(),
        threads: 2,
        max_dirty_memory: 1 << 20,
        trace: false,
        read_only: false,
    }
}

fn start_step(helper: &Helper, spec: &Spec, store: &Arc<dyn Store>, base: Base, staging: &Path) -> Step {
    let session = Arc::new(Mutex::new(None));
    let (slot, store, options) = (Arc::clone(&session), Arc::clone(store), options(staging));
    let serve = move |device| {
        let started = Session::start(device, store, base, options).map_err(io::Error::other)?;
        *slot.lock().unwrap() = Some(started);
        Ok(())
    };
    let (stdio, output) = piped();
    let running = helper
        .spawn(spec, RootFilesystem::Fuse(Box::new(serve)), stdio)
        .unwrap();
    Step {
        running,
        output,
        session,
    }
}

impl Step {
    fn finish(mut self) -> (Exit, String, Frozen) {
        let mut text = String::new();
        self.output.read_to_string(&mut text).unwrap();
        let exit = self.running.wait().unwrap();
        let session = self.session.lock().unwrap().take().unwrap();
        // The mount is gone, so the session has nothing to wait for.
        (exit, text, session.finish().unwrap())
    }
}

/// Removes what the sandbox created, as the snapshot room does.
fn without_stubs(store: &Arc<dyn Store>, tree: TreeRef, stubs: &[Stub]) -> TreeRef {
    let mut edit = Edit::new(Arc::clone(store), tree).unwrap();
    for stub in stubs.iter().rev() {
        edit.remove(&path(&stub.path)).unwrap();
    }
    edit.finish().unwrap()
}

pub(super) fn step_on_a_mount(helper: &Helper, debian: &Path, staging: &Path) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let base = small_debian(&store, debian);
    let writable = |script| Spec {
        read_only: false,
        ..shell(script)
    };
    // A step that changes nothing leaves the very same tree, times included.
    let step = start_step(helper, &writable("true"), &store, Base::Stored(base), staging);
    let stubs = step.running.created_stubs().to_vec();
    let paths: Vec<&str> = stubs.iter().map(|stub| stub.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/proc",
            "/sys",
            "/dev",
            "/etc",
            "/etc/hosts",
            "/etc/resolv.conf",
            "/etc/hostname"
        ]
    );
    let (exit, text, frozen) = step.finish();
    assert_eq!((exit, text.as_str()), (Exit::Code(0), ""));
    assert_eq!(without_stubs(&store, frozen.seal().unwrap(), &stubs), base);
    // Writes, owners and what was still open when the last process was killed are in the next step's base.
    let script = "echo one > /made; chown 33:42 /made; mkdir /made.d; exec 3> /made.d/open; echo two >&3
                  ls /proc/self/fd; ls -a /dev/shm; sleep 300 &";
    let step = start_step(
        helper,
        &writable(script),
        &store,
        Base::Frozen(Arc::new(frozen)),
        staging,
    );
    let (exit, text, frozen) = step.finish();
    assert_eq!((exit, text.as_str()), (Exit::Code(0), "0\n1\n2\n3\n4\n.\n..\n"));
    let script = "while read a point type b; do case $point in /) echo $a $type;; esac; done < /proc/mounts;
                  cat /made /made.d/open; stat -c '%u %g' /made; (echo x > /proc/sysrq-trigger) 2>/dev/null || echo no";
    let step = start_step(
        helper,
        &writable(script),
        &store,
        Base::Frozen(Arc::new(frozen)),
        staging,
    );
    let (exit, text, _) = step.finish();
    assert_eq!(
        (exit, text.as_str()),
        (Exit::Code(0), "silt fuse.silt\none\ntwo\n33 42\nno\n")
    );
    // A killed step ends its session, too.
    let step = start_step(
        helper,
        &writable("sleep 300"),
        &store,
        Base::Stored(base),
        staging,
    );
    step.running.kill().unwrap();
    assert_eq!(step.finish().0, Exit::Signal(libc::SIGKILL));
}

#[test]
fn needs_root_and_fuse_a_step_runs_on_our_mount() {
    let staging = tempfile::tempdir().unwrap();
    step_on_a_mount(&helper(), debian(), staging.path());
}

#[test]
fn needs_root_and_fuse_a_root_that_is_not_served_is_an_error() {
    let refuse = |_device| Err(io::Error::other("refused"));
    let error = helper()
        .spawn(
            &spec(&["true"]),
            RootFilesystem::Fuse(Box::new(refuse)),
            piped().0,
        )
        .unwrap_err();
    assert!(
        matches!(&error, SandboxError::Serve { source } if source.to_string() == "refused"),
        "{error}"
    );
    // A server that hangs up at once.
    let drop_device = |device| {
        drop::<OwnedFd>(device);
        Ok(())
    };
    let error = helper()
        .spawn(
            &spec(&["true"]),
            RootFilesystem::Fuse(Box::new(drop_device)),
            piped().0,
        )
        .unwrap_err();
    assert!(matches!(&error, SandboxError::Setup { .. }), "{error}");
}

#[test]
fn needs_root_and_fuse_one_helper_starts_many_on_mounts() {
    let staging = tempfile::tempdir().unwrap();
    let (helper, store) = (helper(), Arc::new(MemoryStore::new()) as Arc<dyn Store>);
    let base = small_debian(&store, debian());
    for _ in 0..40 {
        let spec = Spec {
            read_only: false,
            ..spec(&["/bin/true"])
        };
        let (exit, _, _) = start_step(&helper, &spec, &store, Base::Stored(base), staging.path()).finish();
        assert_eq!(exit, Exit::Code(0));
    }
}

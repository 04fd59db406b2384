//! Measures the store on a real directory: `measure SOURCE STORE [THREADS]`. Prints one line for each thing measured.

#![allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program for the terminal"
)]

use std::error::Error;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use silt_store::{
    ChunkWriter, Content, Data, Directory, Edit, Entry, GuestPath, Meta, Node, Options, Record, RecordKind,
    RocksStore, Store, TreeRef, blob, diff, root, walk,
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [source, dir, rest @ ..] = arguments.as_slice() else {
        return Err("usage: measure SOURCE STORE [THREADS]".into());
    };
    let threads = rest
        .first()
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or(1);
    let rocks = Arc::new(RocksStore::open(Path::new(dir), Options::default())?);
    let store: Arc<dyn Store> = rocks.clone();

    let begin = Instant::now();
    let files = list(Path::new(source))?;
    println!("list {} files: {:?}", files.len(), begin.elapsed());

    let begin = Instant::now();
    let contents = ingest(&store, &files, threads)?;
    let bytes: u64 = contents.iter().map(|content| content.len).sum();
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "ingest {} MB: {seconds:.2} s, {:.0} MB/s",
        bytes / 1_000_000,
        bytes as f64 / 1e6 / seconds
    );

    let begin = Instant::now();
    let tree = plant(&store, Path::new(source), &files, contents)?;
    println!("tree: {:?}", begin.elapsed());
    let begin = Instant::now();
    commit(&store, b"whole", tree)?;
    println!("commit: {:?}", begin.elapsed());
    println!(
        "memory: {} MB in the database, {} MB resident",
        rocks.memory()? >> 20,
        resident()
    );

    one_change(&store, tree, &files, Path::new(source))?;
    look_up(&store, tree)?;
    read_all(&store, tree)?;
    let begin = Instant::now();
    ingest(&store, &files, threads)?;
    println!("ingest the same again: {:?}", begin.elapsed());
    let begin = Instant::now();
    println!("gc: {:?} {:?}", rocks.gc()?, begin.elapsed());
    println!(
        "memory: {} MB in the database, {} MB resident",
        rocks.memory()? >> 20,
        resident()
    );
    Ok(())
}

/// Milliseconds of CPU this thread has used.
fn processor() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos: u64 = text
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    nanos / 1_000_000
}

/// Anonymous memory in MB; the program's own pages belong to the page cache.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

fn list(dir: &Path) -> Outcome<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            files.extend(list(&entry.path())?);
        } else if meta.is_file() {
            files.push((entry.path(), meta.size()));
        }
    }
    Ok(files)
}

fn ingest(store: &Arc<dyn Store>, files: &[(PathBuf, u64)], threads: usize) -> Outcome<Vec<Content>> {
    let next = AtomicUsize::new(0);
    let parts: Vec<Outcome<Vec<(usize, Content)>>> = std::thread::scope(|scope| {
        let work = || {
            let mut writer = ChunkWriter::new(store);
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((path, len)) = files.get(at) else { break };
                done.push((at, writer.write(&mut std::fs::File::open(path)?, *len)?));
            }
            writer.flush()?;
            Ok(done)
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(done) => done,
            Err(_) => Err("a thread panicked".into()),
        };
        threads.into_iter().map(join).collect()
    });
    let mut contents = vec![Content::empty(); files.len()];
    for part in parts {
        for (at, content) in part? {
            contents[at] = content;
        }
    }
    Ok(contents)
}

fn guest(source: &Path, file: &Path) -> Outcome<GuestPath> {
    Ok(GuestPath::root().join(file.strip_prefix(source)?.as_os_str().as_bytes())?)
}

fn plant(
    store: &Arc<dyn Store>,
    source: &Path,
    files: &[(PathBuf, u64)],
    contents: Vec<Content>,
) -> Outcome<TreeRef> {
    let mut edit = Edit::new(Arc::clone(store), root::scratch(store)?)?;
    let meta = Meta {
        mode: 0o755,
        ..Meta::default()
    };
    for ((file, _), content) in files.iter().zip(contents) {
        let path = guest(source, file)?;
        if let Some((parent, _)) = path.split_last() {
            edit.make_directories(&parent, &meta)?;
        }
        let node = Node::File(content);
        edit.insert(
            &path,
            Entry {
                meta: meta.clone(),
                node,
            },
        )?;
    }
    Ok(edit.finish()?)
}

fn commit(store: &Arc<dyn Store>, key: &[u8], tree: TreeRef) -> Outcome<()> {
    let record = Record {
        roots: vec![tree],
        ..Record::default()
    };
    Ok(store.put_record(RecordKind::Image, key, &record)?)
}

fn one_change(store: &Arc<dyn Store>, tree: TreeRef, files: &[(PathBuf, u64)], source: &Path) -> Outcome<()> {
    let file = guest(source, &files[files.len() / 2].0)?;
    let mut current = tree;
    let begin = Instant::now();
    for number in 0..50u32 {
        let mut edit = Edit::new(Arc::clone(store), current)?;
        let bytes = blob::from_bytes(store, &[number as u8; 3000])?;
        let meta = Meta {
            mode: 0o644,
            ..Meta::default()
        };
        edit.insert(
            &file,
            Entry {
                meta,
                node: Node::File(bytes),
            },
        )?;
        current = edit.finish()?;
        commit(store, &number.to_be_bytes(), current)?;
    }
    println!("change and commit one file: {:?}", begin.elapsed() / 50);
    let begin = Instant::now();
    let changes = diff::diff(store, tree, current).count();
    println!("diff, {changes} changes: {:?}", begin.elapsed());
    Ok(())
}

fn look_up(store: &Arc<dyn Store>, tree: TreeRef) -> Outcome<()> {
    let entries: Vec<_> = walk::walk(store, tree).collect::<Result<_, _>>()?;
    let chunks: Vec<_> = entries
        .iter()
        .filter_map(|(_, entry)| match &entry.node {
            Node::File(content) => match content.data {
                Data::Chunk(id) | Data::List(id) => Some(id),
                Data::Inline(_) => None,
            },
            _ => None,
        })
        .collect();
    for _ in 0..2 {
        let cpu = processor();
        store.has_chunks(&chunks)?;
        println!(
            "presence of {} chunks: {} ms of CPU",
            chunks.len(),
            processor() - cpu
        );
    }
    let begin = Instant::now();
    for (path, _) in &entries {
        walk::lookup(store, tree, path)?;
    }
    println!(
        "look up a path from the root: {:?}",
        begin.elapsed() / entries.len() as u32
    );
    let directories: Vec<_> = entries
        .iter()
        .filter_map(|(_, entry)| match entry.node {
            Node::Directory(node) => Some(node),
            _ => None,
        })
        .collect();
    let begin = Instant::now();
    for node in &directories {
        Directory::load(store, node.tree)?.get(b"Makefile")?;
    }
    println!(
        "open a directory and find a name: {:?}",
        begin.elapsed() / directories.len() as u32
    );
    let mut nodes = Vec::new();
    for node in &directories {
        nodes.push((node.tree, store.node(node.tree)?));
    }
    let cpu = processor();
    for node in nodes {
        store.put_nodes(vec![node])?;
    }
    println!(
        "put {} nodes again: {} ms of CPU",
        directories.len(),
        processor() - cpu
    );
    Ok(())
}

fn read_all(store: &Arc<dyn Store>, tree: TreeRef) -> Outcome<()> {
    let begin = Instant::now();
    let (mut paths, mut bytes) = (0, 0);
    for step in walk::walk(store, tree) {
        paths += 1;
        if let Node::File(content) = step?.1.node {
            bytes += blob::read_all(store, &content)?.len();
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "read back {paths} paths: {seconds:.2} s, {:.0} MB/s",
        bytes as f64 / 1e6 / seconds
    );
    Ok(())
}

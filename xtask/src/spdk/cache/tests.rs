use super::*;
use crate::test_host::put;

fn take(root: &Path) -> Locked {
    Locked::take(root, &mut |_| panic!("nobody else has it")).unwrap()
}

#[test]
fn the_second_waits_for_the_first_and_is_told_who_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let first = take(&root);
    let (tell, told) = std::sync::mpsc::channel();
    let second = std::thread::spawn(move || {
        let locked =
            Locked::take(&root, &mut |holder| tell.send(holder.to_owned()).unwrap()).unwrap();
        // The first has published before it let go.
        assert!(root.join("spdk-x").join(COMPLETE_MARKER).is_file());
        drop(locked);
    });
    assert_eq!(told.recv().unwrap(), std::process::id().to_string());
    let staged = first.work().unwrap().join("prefix");
    std::fs::create_dir(&staged).unwrap();
    first.publish(&staged, "spdk-x").unwrap();
    drop(first);
    second.join().unwrap();
}

#[test]
fn a_program_that_outlives_its_builder_keeps_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let locked = take(dir.path());
    let mut orphan = std::process::Command::new("sleep")
        .arg("60")
        .stdin(locked.share().unwrap())
        .spawn()
        .unwrap();
    drop(locked);
    let (tell, told) = std::sync::mpsc::channel();
    let root = dir.path().to_owned();
    let second = std::thread::spawn(move || {
        Locked::take(&root, &mut |_| tell.send(()).unwrap()).unwrap();
    });
    told.recv().unwrap();
    orphan.kill().unwrap();
    orphan.wait().unwrap();
    second.join().unwrap();
}

#[test]
fn what_an_interrupted_build_left_is_removed_and_prefixes_are_not() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("tmp-12345/source/half"), "");
    put(&dir.path().join("spdk-20.07-r0-x/lib/a"), "");
    let locked = take(dir.path());
    assert!(!dir.path().join("tmp-12345").exists());
    assert!(dir.path().join("spdk-20.07-r0-x/lib/a").exists());
    let work = locked.work().unwrap().to_owned();
    assert!(work.is_dir());
    drop(locked);
    assert!(!work.exists());
    assert!(!dir.path().join("lock-holder").exists());
}

#[test]
fn a_prefix_appears_whole_and_replaces_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("spdk-x/old"), "");
    let locked = take(dir.path());
    put(&dir.path().join("log"), "what went wrong");
    let kept = locked.keep_log(&dir.path().join("log"));
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "what went wrong");
    let staged = locked.work().unwrap().join("prefix");
    put(&staged.join("new"), "");
    let prefix = locked.publish(&staged, "spdk-x").unwrap();
    assert!(prefix.join("new").is_file() && prefix.join(COMPLETE_MARKER).is_file());
    assert!(!prefix.join("old").exists());
    drop(locked);
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        names.iter().all(|n| n == "spdk-x" || n == "lock"),
        "{names:?}"
    );
}

#[test]
fn free_space_is_more_than_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert!(free_space(dir.path()).unwrap() > 4096);
    assert!(free_space(&dir.path().join("nothing")).is_err());
}

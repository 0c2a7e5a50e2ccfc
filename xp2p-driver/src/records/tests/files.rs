//! Files as bytes.

use super::T;
use crate::records::testing::{TempDir, key, place};
use crate::records::{FileReader, MAX_READ, RecordsDir, Storage};

const NAME: &str = "2026-11-24T02-04-30.000Z.flv";

fn open(dir: &TempDir, name: &str) -> Option<Box<dyn FileReader>> {
    RecordsDir::open(dir.path()).unwrap().open_file(0, name).unwrap()
}

#[test]
fn bytes_are_read_from_anywhere_up_to_the_end() {
    let dir = TempDir::new();
    let bytes = std::fs::read(place(&dir, T, &[key(0)])).unwrap();
    let mut reader = open(&dir, NAME).unwrap();
    let size = reader.size();
    assert_eq!(size, bytes.len() as u64);
    assert_eq!(reader.read_at(0, usize::MAX).unwrap(), bytes);
    assert_eq!(reader.read_at(5, 7).unwrap(), bytes[5..12]);
    assert_eq!(reader.read_at(size - 3, 100).unwrap(), bytes[bytes.len() - 3..]);
    for beyond in [size, size + 1, u64::MAX] {
        assert_eq!(reader.read_at(beyond, 100).unwrap().len(), 0);
    }
}

#[test]
fn one_read_is_bounded() {
    let dir = TempDir::new();
    std::fs::write(dir.path().join("2026-11-24T02-04-30Z.png"), vec![7; MAX_READ + 1]).unwrap();
    let mut reader = open(&dir, "2026-11-24T02-04-30Z.png").unwrap();
    assert_eq!(reader.read_at(0, usize::MAX).unwrap().len(), MAX_READ);
    assert_eq!(reader.read_at(MAX_READ as u64, usize::MAX).unwrap().len(), 1);
}

#[test]
fn names_that_lead_elsewhere_open_nothing() {
    let dir = TempDir::new();
    let inside = dir.path().join("inside");
    std::fs::create_dir_all(inside.join("ch1")).unwrap();
    for place in [dir.path(), &inside, &inside.join("ch1")] {
        std::fs::write(place.join(NAME), b"here").unwrap();
        std::fs::write(place.join("secret"), b"here").unwrap();
    }
    let storage = RecordsDir::open(&inside).unwrap();
    let absolute = dir.path().join(NAME);
    let hostile = [
        absolute.to_str().unwrap().to_owned(),
        format!("../{NAME}"),
        format!("..\\{NAME}"),
        format!("./{NAME}"),
        format!("ch1/{NAME}"),
        format!("ch1/../{NAME}"),
        format!("{NAME}/"),
        format!("{NAME}\0"),
        "secret".into(),
        "..".into(),
        ".".into(),
        String::new(),
    ];
    for name in &hostile {
        assert!(storage.open_file(0, name).unwrap().is_none(), "{name:?}");
    }
    assert!(storage.open_file(0, NAME).unwrap().is_some());
    assert!(storage.open_file(1, NAME).unwrap().is_some());
    assert!(storage.open_file(2, NAME).unwrap().is_none());
    assert!(storage.open_file(0, "2026-11-24T02-04-31.000Z.flv").unwrap().is_none());
}

#[cfg(unix)]
#[test]
fn symbolic_links_and_directories_open_nothing() {
    let (dir, outside) = (TempDir::new(), TempDir::new());
    let real = place(&outside, T, &[key(0)]);
    std::os::unix::fs::symlink(&real, dir.path().join(NAME)).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("ch1")).unwrap();
    std::fs::create_dir(dir.path().join("2026-11-24T02-04-31Z.flv")).unwrap();
    let storage = RecordsDir::open(dir.path()).unwrap();
    assert!(storage.open_file(0, NAME).unwrap().is_none());
    assert!(storage.open_file(1, NAME).unwrap().is_none());
    assert!(storage.open_file(0, "2026-11-24T02-04-31Z.flv").unwrap().is_none());
}

#[test]
fn a_file_that_grows_keeps_its_size_for_who_opened_it_and_gets_another_version() {
    let dir = TempDir::new();
    let path = place(&dir, T, &[key(0)]);
    let mut before = open(&dir, NAME).unwrap();
    assert_eq!(before.version(), open(&dir, NAME).unwrap().version());
    let size = before.size();
    place(&dir, T, &[key(0), key(1_000)]);
    assert_eq!(before.read_at(0, usize::MAX).unwrap().len() as u64, size);
    let after = open(&dir, NAME).unwrap();
    assert!(after.size() > size);
    assert_ne!(after.version(), before.version());
    std::fs::remove_file(path).unwrap();
    assert!(open(&dir, NAME).is_none());
}

#[test]
fn a_file_that_was_cut_since_is_an_error() {
    let dir = TempDir::new();
    let path = place(&dir, T, &[key(0)]);
    let mut reader = open(&dir, NAME).unwrap();
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(20).unwrap();
    assert_eq!(reader.read_at(0, usize::MAX).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(reader.read_at(0, 20).unwrap().len(), 20);
}

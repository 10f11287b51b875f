// SPDX-License-Identifier: GPL-2.0

//! Extended attributes against a map from name to value.

use std::collections::BTreeMap;

use pinfs_format::{
    inode::S_IFREG,
    memory::Memory,
    namespace,
    orphan,
    xattr::{
        self,
        Key,
        Mode,
        Namespace,
        LIST_MAX,
        NAME_MAX,
        VALUE_MAX, //
    },
    Error,
    Time, //
};
use proptest::prelude::*;

use crate::support::{
    attributes,
    name,
    Fs, //
};

type Model = BTreeMap<(Namespace, Vec<u8>), Vec<u8>>;

const SPACES: [Namespace; 5] = [
    Namespace::User,
    Namespace::Trusted,
    Namespace::Security,
    Namespace::AccessAcl,
    Namespace::DefaultAcl,
];

/// Lengths at which the form of a value changes.
const LENGTHS: [usize; 12] = [
    0, 1, 7, 8, 300, 2047, 2048, 2049, 4072, 4073, 20_000, VALUE_MAX,
];

fn create(fs: &mut Fs<Memory>) -> u64 {
    fs.create(b"file").expect("create")
}

fn key(of: &(Namespace, Vec<u8>)) -> Key<'_> {
    Key::new(of.0, &of.1).expect("a key")
}

fn compare(fs: &mut Fs<Memory>, ino: u64, model: &Model) {
    assert_eq!(&fs.check().objects[&ino].xattrs, model);
    let inode = fs.inode(ino);
    assert_eq!(inode.has_xattrs(), !model.is_empty());
    for (at, value) in model {
        // No room: the length alone.
        let mut buf = vec![0x77; value.len().saturating_sub(1)];
        let len = xattr::get(&fs.volume, &inode, key(at), &mut buf);
        assert_eq!(len, Ok(value.len()));
        assert!(buf.iter().all(|&byte| byte == 0x77));
    }
}

fn reap(fs: &mut Fs<Memory>, ino: u64) -> u32 {
    let root = fs.root();
    fs.run(|tx| namespace::unlink(tx, root, name(b"file"), Time::default()))
        .expect("unlink");
    let mut turns = 0;
    while !fs.run(|tx| orphan::reap(tx, ino)).expect("reap") {
        turns += 1;
        fs.check();
    }
    fs.check();
    turns
}

#[derive(Clone, Debug)]
enum Step {
    Set((Namespace, Vec<u8>), Vec<u8>, Mode),
    Remove((Namespace, Vec<u8>)),
}

fn names() -> impl Strategy<Value = (Namespace, Vec<u8>)> {
    (0usize..5, 0u8..12).prop_map(|(space, number)| {
        let space = SPACES[space];
        let whole = matches!(space, Namespace::AccessAcl | Namespace::DefaultAcl);
        let len = if whole {
            0
        } else {
            [1, 10, 100, NAME_MAX][usize::from(number) % 4]
        };
        (space, vec![b'a' + number; len])
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let mode = prop_oneof![4 => Just(Mode::Any), 1 => Just(Mode::Create), 1 => Just(Mode::Replace)];
    let value = (0..LENGTHS.len(), any::<u8>()).prop_map(|(len, byte)| vec![byte; LENGTHS[len]]);
    let step = prop_oneof![
        3 => (names(), value, mode).prop_map(|(name, value, mode)| Step::Set(name, value, mode)),
        1 => names().prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_steps(steps in steps()) {
        let mut fs = Fs::new(1024);
        let ino = create(&mut fs);
        let free = fs.space.counts().free;
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Set(at, value, mode) => {
                    let result = fs.run(|tx| xattr::set(tx, ino, key(&at), &value, mode));
                    let exists = model.contains_key(&at);
                    match mode {
                        Mode::Create if exists => prop_assert_eq!(result, Err(Error::Exists)),
                        Mode::Replace if !exists => {
                            prop_assert_eq!(result, Err(Error::NoAttribute));
                        }
                        _ if result == Err(Error::NoSpace) => {}
                        _ => {
                            prop_assert_eq!(result, Ok(()));
                            model.insert(at, value);
                        }
                    }
                }
                Step::Remove(at) => {
                    let result = fs.run(|tx| xattr::remove(tx, ino, key(&at)));
                    let wanted = model.remove(&at).map(drop).ok_or(Error::NoAttribute);
                    prop_assert_eq!(result, wanted);
                }
            }
        }
        compare(&mut fs, ino, &model);
        for at in std::mem::take(&mut model).keys() {
            fs.run(|tx| xattr::remove(tx, ino, key(at))).expect("remove");
        }
        compare(&mut fs, ino, &model);
        prop_assert_eq!(fs.space.counts().free, free);
    }
}

#[test]
fn names_have_limits() {
    let long = [b'n'; NAME_MAX + 1];
    for space in [Namespace::User, Namespace::Trusted, Namespace::Security] {
        assert!(Key::new(space, &long[1..]).is_ok());
        assert_eq!(Key::new(space, &long), Err(Error::NameTooLong));
        assert_eq!(Key::new(space, b""), Err(Error::Invalid));
        assert_eq!(Key::new(space, b"a\0b"), Err(Error::Invalid));
    }
    for space in [Namespace::AccessAcl, Namespace::DefaultAcl] {
        assert!(Key::new(space, b"").is_ok());
        assert_eq!(Key::new(space, b"x"), Err(Error::Invalid));
    }
    let user = Key::new(Namespace::User, b"abc").expect("a key");
    assert_eq!(user.list_len(), "user.abc".len() + 1);
}

/// The names of an inode are never more than listxattr(2) can return.
#[test]
fn as_many_as_can_be_listed() {
    let mut fs = Fs::new(2048);
    let ino = create(&mut fs);
    let mut model = Model::new();
    let result = loop {
        let text = format!("{:040}", model.len());
        let at = (Namespace::User, text.into_bytes());
        match fs.run(|tx| xattr::set(tx, ino, key(&at), b"value", Mode::Any)) {
            Ok(()) => model.insert(at, b"value".into()),
            Err(error) => break error,
        };
    };
    assert_eq!(result, Error::NoSpace);
    assert_eq!(model.len(), LIST_MAX / ("user.".len() + 40 + 1));
    compare(&mut fs, ino, &model);
    // What exists can still be changed.
    let first = model.keys().next().expect("one").clone();
    fs.run(|tx| xattr::set(tx, ino, key(&first), b"other", Mode::Replace))
        .expect("replace");
    model.insert(first, b"other".into());
    compare(&mut fs, ino, &model);
    let too_long = vec![0; VALUE_MAX + 1];
    let at = (Namespace::Trusted, b"x".to_vec());
    let result = fs.run(|tx| xattr::set(tx, ino, key(&at), &too_long, Mode::Any));
    assert_eq!(result, Err(Error::Overflow));
}

/// An inode with megabytes of attributes goes in many small transactions.
#[test]
fn huge_attributes_are_freed_in_steps() {
    let mut fs = Fs::new(4096);
    let free = fs.space.counts();
    let ino = create(&mut fs);
    for i in 0..100u8 {
        let at = (Namespace::User, vec![b'a', i + 1]);
        let value = vec![i; VALUE_MAX];
        fs.run(|tx| xattr::set(tx, ino, key(&at), &value, Mode::Create))
            .expect("set");
    }
    assert!(fs.inode(ino).blocks.get() > 1700);
    assert!(reap(&mut fs, ino) > 20);
    // The root directory has lost its only name, and with it its leaf.
    assert_eq!(fs.space.counts(), free);
}

/// A device without room refuses, and nothing is lost or half done.
#[test]
fn no_space_changes_nothing() {
    let mut fs = Fs::new(512);
    let ino = create(&mut fs);
    let at = (Namespace::User, b"first".to_vec());
    fs.run(|tx| xattr::set(tx, ino, key(&at), &[1; 5000], Mode::Any))
        .expect("set");
    let mut count = 0;
    let before = loop {
        let before = fs.check();
        let at = (Namespace::User, format!("{count}").into_bytes());
        match fs.run(|tx| xattr::set(tx, ino, key(&at), &[2; 30_000], Mode::Any)) {
            Ok(()) => count += 1,
            Err(error) => {
                assert_eq!(error, Error::NoSpace);
                break before;
            }
        }
    };
    assert!(count > 30);
    assert_eq!(fs.check(), before);
    // The old value's blocks are not free before the new one is durable.
    let result = fs.run(|tx| xattr::set(tx, ino, key(&at), &[3; VALUE_MAX], Mode::Replace));
    assert_eq!(result, Err(Error::NoSpace));
    assert_eq!(fs.check(), before);
    reap(&mut fs, ino);
}

/// A file with its attributes is there, or not at all.
#[test]
fn made_with_the_file() {
    let mut fs = Fs::new(512);
    let root = fs.root();
    let label = Key::new(Namespace::Security, b"label").expect("a key");
    let acl = Key::new(Namespace::AccessAcl, b"").expect("a key");
    let make = |fs: &mut Fs<Memory>, as_name: &[u8], wrong: bool| {
        fs.run(|tx| {
            let ino = namespace::create(tx, root, name(as_name), &attributes(S_IFREG), None)?;
            xattr::set(tx, ino, acl, &[1; 44], Mode::Create)?;
            xattr::set(tx, ino, label, &[2; 9000], Mode::Create)?;
            if wrong {
                return Err(Error::Invalid);
            }
            Ok(ino)
        })
    };
    let ino = make(&mut fs, b"whole", false).expect("create");
    let before = fs.check();
    assert_eq!(before.objects[&ino].xattrs.len(), 2);
    assert_eq!(make(&mut fs, b"half", true), Err(Error::Invalid));
    assert_eq!(fs.check(), before);
}

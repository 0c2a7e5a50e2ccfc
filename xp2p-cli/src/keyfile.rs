//! Key files on disk: read, made and changed without ever being readable by others.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use xp2p_proto::keys::{KeyFile, MAX_KEY_FILE, SecretKey};

/// Reads a key file. Says so if others may read it.
pub(crate) fn load(path: &Path) -> Result<KeyFile> {
    let file = File::open(path).with_context(|| {
        format!("cannot open the key file {}; make one with `xp2p keygen -o {0}`", path.display())
    })?;
    warn_if_open(path, &file);
    let mut text = String::new();
    file.take(MAX_KEY_FILE as u64 + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read the key file {}", path.display()))?;
    KeyFile::parse(&text).with_context(|| path.display().to_string())
}

#[cfg(unix)]
fn warn_if_open(path: &Path, file: &File) {
    use std::os::unix::fs::PermissionsExt as _;
    if let Ok(meta) = file.metadata()
        && meta.permissions().mode() & 0o077 != 0
    {
        eprintln!("warning: others can read {0}; run: chmod 600 {0}", path.display());
    }
}

#[cfg(not(unix))]
fn warn_if_open(_path: &Path, _file: &File) {}

fn create_new(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

/// Makes a new identity in a new file. Never overwrites one.
pub(crate) fn generate(path: &Path) -> Result<KeyFile> {
    let key = KeyFile { secret: SecretKey::from_bytes(random()?), epoch: 0 };
    let mut file = match create_new(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!(
                "{} exists already, and a key that is lost cannot be made again; choose another name",
                path.display()
            )
        }
        Err(e) => return Err(e).with_context(|| format!("cannot write {}", path.display())),
    };
    file.write_all(key.to_text().as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key)
}

/// Reads the key file, or makes it if there is none.
pub(crate) fn load_or_generate(path: &Path) -> Result<KeyFile> {
    if path.exists() { load(path) } else { generate(path) }
}

/// Replaces a key file as a whole, so that a crash leaves either the old or the new one.
pub(crate) fn replace(path: &Path, key: &KeyFile) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = Path::new(&name);
    // One that a crash left behind is worth nothing.
    if temporary.exists() {
        std::fs::remove_file(temporary).with_context(|| format!("cannot remove {}", temporary.display()))?;
    }
    let mut file = create_new(temporary).with_context(|| format!("cannot write {}", temporary.display()))?;
    file.write_all(key.to_text().as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Fresh randomness of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("the system gives no randomness: {e}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let path = std::env::temp_dir().join(format!("xp2p-keyfile-{}.key", std::process::id()));
        let key = generate(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(generate(&path).unwrap_err().to_string().contains("exists already"));
        let raised = KeyFile { epoch: 5, ..key.clone() };
        replace(&path, &raised).unwrap();
        let read = load(&path).unwrap();
        assert_eq!((read.epoch, read.secret.public()), (5, key.secret.public()));
        std::fs::remove_file(&path).unwrap();
    }
}

//! Secrets encrypted at rest: the keys, and the endpoint that turns and changes them. k3s's `--secrets-encryption` and
//! `k3s secrets-encrypt`; upstream's `aesgcm` provider.
//!
//! ```text
//!   on disk:  k8s:enc:aesgcm:v1:<key's name>: nonce (12 bytes) ciphertext tag        bound to resource, namespace and name
//!   keys:     <server>/encryption.json, mode 0600; the first key writes, all of them read
//! ```

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use ::http::{Method, Response};
use api::{Reason, Status, Value};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Limited};
use parking_lot::RwLock;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Key, Seal, Store};

use crate::authz::is_master;
use crate::http::Body;
use crate::special::{Path, PathRequest, Specials, text};

pub const PATH: &str = "/v1-skiff/encrypt";
/// In the server's directory.
pub const FILE: &str = "encryption.json";

const PREFIX: &str = "k8s:enc:aesgcm:v1:";
/// [`api::Kind::store_resource`]
const COVERED: &str = "secrets";

#[derive(Clone, Serialize, Deserialize)]
struct Named {
    name: String,
    /// Base64 of 32 bytes.
    secret: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Saved {
    enabled: bool,
    keys: Vec<Named>,
}

struct State {
    saved: Saved,
    /// In the order of `saved.keys`.
    keys: Vec<Arc<LessSafeKey>>,
}

/// The keys of one server.
pub struct Keyring {
    path: PathBuf,
    state: RwLock<State>,
}

fn load(saved: &Saved) -> Result<Vec<Arc<LessSafeKey>>, String> {
    let key = |k: &Named| {
        let bytes = STANDARD.decode(&k.secret).map_err(|e| format!("key {}: {e}", k.name))?;
        let key =
            UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| format!("key {}: it must have 32 bytes", k.name))?;
        Ok(Arc::new(LessSafeKey::new(key)))
    };
    saved.keys.iter().map(key).collect()
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the machine has no randomness".to_owned())?;
    Ok(bytes)
}

fn new_key(number: usize) -> Result<Named, String> {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S");
    Ok(Named { name: format!("aesgcmkey-{now}-{number}"), secret: STANDARD.encode(random::<32>()?) })
}

/// What a sealed value is bound to: it is good in its own place only.
fn place(key: &Key) -> Vec<u8> {
    [&*key.resource, &*key.namespace, &*key.name].join("/").into_bytes()
}

impl Keyring {
    /// The keys in `dir`, which are made if they are wanted and not there. `None`: there are none, and none are wanted.
    pub fn open(dir: &FilePath, wanted: bool) -> Result<Option<Arc<Keyring>>, String> {
        let path = dir.join(FILE);
        let about = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let saved = match pki::files::read(&path).map_err(|e| about(&e))? {
            Some(text) => serde_json::from_str(&text).map_err(|e| about(&e))?,
            None if wanted => {
                let saved = Saved { enabled: true, keys: vec![new_key(1)?] };
                save(&path, &saved)?;
                saved
            }
            None => return Ok(None),
        };
        let keys = load(&saved).map_err(|e| about(&e))?;
        Ok(Some(Arc::new(Keyring { path: path.clone(), state: RwLock::new(State { saved, keys }) })))
    }

    /// Keys that a server has from its start, whether it encrypts or not: it may be told to later.
    pub fn open_or_off(dir: &FilePath, wanted: bool) -> Result<Arc<Keyring>, String> {
        if let Some(keys) = Keyring::open(dir, wanted)? {
            return Ok(keys);
        }
        let saved = Saved { enabled: false, keys: Vec::new() };
        Ok(Arc::new(Keyring { path: dir.join(FILE), state: RwLock::new(State { saved, keys: Vec::new() }) }))
    }

    pub fn is_enabled(&self) -> bool {
        self.state.read().saved.enabled
    }

    fn change(&self, change: impl FnOnce(&mut Saved) -> Result<(), String>) -> Result<(), String> {
        let mut saved = self.state.read().saved.clone();
        change(&mut saved)?;
        let keys = load(&saved)?;
        // on disk before anything is written with it
        save(&self.path, &saved)?;
        *self.state.write() = State { saved, keys };
        Ok(())
    }

    fn status(&self) -> Value {
        let state = self.state.read();
        let names: Vec<&str> = state.saved.keys.iter().map(|k| k.name.as_str()).collect();
        json!({"enabled": state.saved.enabled, "activeKey": names.first(), "keys": names})
    }
}

fn save(path: &FilePath, saved: &Saved) -> Result<(), String> {
    let text = serde_json::to_string_pretty(saved).expect("plain data encodes");
    pki::files::write(path, &text).map_err(|e| format!("{}: {e}", path.display()))
}

impl Seal for Keyring {
    fn covers(&self, resource: &str) -> bool {
        resource == COVERED
    }

    fn seal(&self, key: &Key, value: &[u8]) -> Option<Vec<u8>> {
        let (name, secret) = {
            let state = self.state.read();
            if !state.saved.enabled {
                return None;
            }
            (state.saved.keys.first()?.name.clone(), state.keys.first()?.clone())
        };
        let nonce: [u8; NONCE_LEN] = random().expect("the kernel gives random bytes");
        let mut body = value.to_vec();
        let sealed =
            secret.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place(key)), &mut body);
        sealed.expect("an object is far shorter than what AES-GCM takes");
        Some([PREFIX.as_bytes(), name.as_bytes(), b":", &nonce, &body].concat())
    }

    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, String> {
        let rest = sealed.strip_prefix(PREFIX.as_bytes()).ok_or("it is of another provider")?;
        let end = rest.iter().position(|b| *b == b':').ok_or("its key has no name")?;
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let file = self.path.display();
        let secret = {
            let state = self.state.read();
            let place = state.saved.keys.iter().position(|k| k.name == name);
            place.map(|i| state.keys[i].clone())
        };
        let secret = secret.ok_or_else(|| format!("{file} has no key {name}: bring back the file that has"))?;
        let (nonce, body) = rest[end + 1..].split_at_checked(NONCE_LEN).ok_or("it is cut off")?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| "it is cut off")?;
        let mut body = body.to_vec();
        let plain = secret
            .open_in_place(nonce, Aad::from(place(key)), &mut body)
            .map_err(|_| format!("key {name} in {file} is not the one it was encrypted with"))?;
        Ok(plain.to_vec())
    }

    fn wipes(&self) -> bool {
        !self.state.read().keys.is_empty()
    }

    fn is_current(&self, stored: &[u8]) -> bool {
        let state = self.state.read();
        match state.saved.keys.first().filter(|_| state.saved.enabled) {
            Some(key) => stored.starts_with(format!("{PREFIX}{}:", key.name).as_bytes()),
            None => !stored.starts_with(PREFIX.as_bytes()),
        }
    }
}

/// `/v1-skiff/encrypt`, for administrators: `GET` tells, `POST {"action": …}` changes.
pub struct Encryption {
    pub keys: Arc<Keyring>,
    pub store: Arc<Store>,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Encryption {
    pub fn new(keys: Arc<Keyring>, store: Arc<Store>) -> Encryption {
        Encryption { keys, store, turn: tokio::sync::Mutex::default() }
    }

    pub fn register(self: &Arc<Self>, specials: &mut Specials) {
        specials.path(PATH, self.clone());
    }

    /// All that is stored, in the form that the keys want. How much was not.
    pub async fn reencrypt(&self) -> Result<usize, Status> {
        self.store.reseal().await.map_err(Status::internal)
    }

    async fn act(&self, action: &str) -> Result<usize, Status> {
        let _turn = self.turn.lock().await;
        let change = |change: &dyn Fn(&mut Saved) -> Result<(), String>| {
            self.keys.change(|s| change(s)).map_err(Status::internal)
        };
        match action {
            "enable" => change(&|s| {
                s.enabled = true;
                if s.keys.is_empty() {
                    s.keys.push(new_key(1)?);
                }
                Ok(())
            })?,
            "disable" => change(&|s| {
                s.enabled = false;
                Ok(())
            })?,
            "rotate-keys" => {
                if !self.keys.is_enabled() {
                    return Err(Status::bad_request("secrets encryption is disabled"));
                }
                change(&|s| {
                    s.keys.insert(0, new_key(s.keys.len() + 1)?);
                    Ok(())
                })?;
            }
            "reencrypt" => {}
            other => return Err(Status::bad_request(format!("unknown action {other:?}"))),
        }
        let count = self.reencrypt().await?;
        if action == "rotate-keys" {
            // nothing is left that the others could read
            change(&|s| {
                s.keys.truncate(1);
                Ok(())
            })?;
        }
        tracing::info!(action, secrets = count, "secrets encryption");
        Ok(count)
    }
}

#[async_trait]
impl Path for Encryption {
    async fn serve(&self, r: PathRequest) -> Result<Response<Body>, Status> {
        let user = r.user.ok_or_else(Status::unauthorized)?;
        if !is_master(&user) {
            return Err(Status::new(Reason::Forbidden, "only for administrators"));
        }
        let mut changed = 0;
        if r.request.method() == Method::POST {
            let body = Limited::new(r.request.into_body(), 4096).collect().await;
            let body = body.map_err(|e| Status::bad_request(e.to_string()))?.to_bytes();
            let tree: Value = serde_json::from_slice(&body).map_err(|e| Status::bad_request(e.to_string()))?;
            changed = self.act(tree["action"].as_str().unwrap_or_default()).await?;
        }
        let mut status = self.keys.status();
        status["rewritten"] = changed.into();
        Ok(text(200, "application/json", status.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use store::{Change, Options};

    use super::*;

    const HUSH: &str = "aHVzaCBodXNoIGh1c2g";

    fn open(dir: &FilePath, wanted: bool) -> Result<(Arc<Keyring>, Arc<Store>), String> {
        let keys = Keyring::open_or_off(dir, wanted)?;
        let seal: Arc<dyn Seal> = keys.clone();
        let options = Options { seal: Some(seal), ..Options::default() };
        let store = Store::open(dir.join("db"), options).map_err(|e| e.to_string())?;
        Ok((keys, Arc::new(store)))
    }

    fn on_disk(dir: &FilePath) -> bool {
        std::fs::read_dir(dir.join("db")).unwrap().any(|e| {
            let bytes = std::fs::read(e.unwrap().path()).unwrap();
            bytes.windows(HUSH.len()).any(|w| w == HUSH.as_bytes())
        })
    }

    async fn put(store: &Store, resource: &str, name: &str, n: u32) {
        let tree = json!({"metadata": {"name": name, "namespace": "ns"}, "data": {"k": HUSH, "n": n}});
        let draft = api::Draft::encode(&tree).unwrap();
        store.commit(Key::new(resource, "ns", name), None, Change::Put(draft)).await.unwrap();
    }

    fn value(store: &Store, name: &str) -> Value {
        store.get(&Key::new(COVERED, "ns", name)).unwrap().tree()["data"]["k"].take()
    }

    #[tokio::test]
    async fn the_disk_does_not_tell_and_the_store_does() {
        let dir = tempfile::tempdir().unwrap();
        let (_, store) = open(dir.path(), true).unwrap();
        let from = store.revision();
        put(&store, COVERED, "a", 1).await;
        put(&store, COVERED, "a", 2).await;
        assert_eq!(value(&store, "a"), HUSH);
        store.close().await.unwrap();
        drop(store);
        assert!(!on_disk(dir.path()));
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(dir.path().join(FILE)).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);

        let (_, store) = open(dir.path(), false).unwrap();
        assert_eq!(value(&store, "a"), HUSH);
        // the past too, which is read from the disk
        let events = store.watch(COVERED, from).unwrap().next().await.unwrap();
        assert_eq!(events[0].object.tree()["data"]["k"], HUSH);
        put(&store, "configmaps", "b", 1).await;
        store.close().await.unwrap();
        assert!(on_disk(dir.path()), "only secrets are covered");
    }

    #[tokio::test]
    async fn it_is_turned_on_and_off_and_keys_change() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, store) = open(dir.path(), false).unwrap();
        for n in 0..20 {
            put(&store, COVERED, &format!("s{n}"), 1).await;
        }
        let encryption = Encryption::new(keys.clone(), store.clone());
        assert_eq!(keys.status()["enabled"], false);
        assert_eq!(encryption.act("rotate-keys").await.unwrap_err().code, 400);
        let revision = store.revision();
        assert_eq!(encryption.act("enable").await.unwrap(), 20);
        assert!(!on_disk(dir.path()), "what was plain is gone from the file");
        assert_eq!((encryption.act("reencrypt").await.unwrap(), store.revision()), (0, revision));
        let first = keys.status()["activeKey"].clone();
        assert_eq!(encryption.act("rotate-keys").await.unwrap(), 20);
        assert_ne!(keys.status()["activeKey"], first);
        assert_eq!(keys.status()["keys"].as_array().unwrap().len(), 1);
        assert_eq!(encryption.act("disable").await.unwrap(), 20);
        assert!(on_disk(dir.path()));
        encryption.act("enable").await.unwrap();
        store.close().await.unwrap();
        drop((encryption, store));
        let (_, store) = open(dir.path(), false).unwrap();
        assert_eq!(value(&store, "s7"), HUSH);
    }

    #[tokio::test]
    async fn without_its_key_a_server_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (_, store) = open(dir.path(), true).unwrap();
        put(&store, COVERED, "a", 1).await;
        store.close().await.unwrap();
        drop(store);
        let file = dir.path().join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        let refused = |why: &str| {
            let error = open(dir.path(), false).err().unwrap();
            assert!(error.contains("secrets ns/a is encrypted") && error.contains(why), "{error}");
        };
        std::fs::remove_file(&file).unwrap();
        refused("has no key aesgcmkey-");
        let mut saved: Saved = serde_json::from_str(&text).unwrap();
        saved.keys[0].secret = STANDARD.encode([7; 32]);
        save(&file, &saved).unwrap();
        refused("is not the one it was encrypted with");
        std::fs::write(&file, text).unwrap();
        open(dir.path(), false).unwrap();
    }

    #[test]
    fn a_value_is_good_in_its_own_place_only() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keyring::open_or_off(dir.path(), true).unwrap();
        let sealed = keys.seal(&Key::new(COVERED, "ns", "a"), b"{}").unwrap();
        assert_eq!(keys.open(&Key::new(COVERED, "ns", "a"), &sealed).unwrap(), b"{}");
        assert!(keys.open(&Key::new(COVERED, "ns", "b"), &sealed).is_err());
        for cut in [0, 10, 30, sealed.len() - 1] {
            assert!(keys.open(&Key::new(COVERED, "ns", "a"), &sealed[..cut]).is_err(), "{cut}");
        }
    }
}

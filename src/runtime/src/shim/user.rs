//! Users and groups as an image's `/etc/passwd` and `/etc/group` name them.

use super::protocol::User;

#[derive(Debug, Default, PartialEq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
}

/// Upstream's rules: a number needs no entry, a name does; without a group the user's own applies, and its memberships
/// are added to `supplemental`. A number that has an entry gets its group and memberships too.
pub fn resolve(user: &User, passwd: &str, group: &str) -> Result<Identity, String> {
    let (name, group_name) = match user.user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|g| !g.is_empty())),
        None => (user.user.as_str(), None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entries = || passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).filter(|f| f.len() >= 6);
    let groups = || group.lines().map(|l| l.split(':').collect::<Vec<_>>()).filter(|f| f.len() >= 4);
    let number = name.parse::<u32>().ok();
    let entry =
        entries().find(|f| if number.is_some() { f[2].parse() == Ok(number.unwrap_or(0)) } else { f[0] == name });
    let mut identity = Identity { uid: number.unwrap_or(0), ..Default::default() };
    match &entry {
        Some(fields) => {
            identity.uid = fields[2].parse().map_err(|_| format!("user {name}: bad uid in /etc/passwd"))?;
            identity.gid = fields[3].parse().unwrap_or(0);
            identity.home = fields[5].to_owned();
        }
        None if number.is_none() => {
            return Err(format!("unable to find user {name}: no matching entries in passwd file"));
        }
        None => {}
    }
    if let Some(fields) = &entry
        && group_name.is_none()
        && user.group.is_none()
    {
        let member = |f: &Vec<&str>| f[3].split(',').any(|m| m == fields[0]);
        identity.groups = groups().filter(member).filter_map(|f| f[2].parse().ok()).collect();
    }
    if let Some(name) = group_name {
        identity.gid = match name.parse() {
            Ok(gid) => gid,
            Err(_) => groups()
                .find(|f| f[0] == name)
                .and_then(|f| f[2].parse().ok())
                .ok_or(format!("unable to find group {name}: no matching entries in group file"))?,
        };
    }
    if let Some(gid) = user.group {
        identity.gid = gid;
    }
    identity.groups.extend(&user.supplemental);
    // containerd lists the primary group too
    identity.groups.insert(0, identity.gid);
    let mut seen = std::collections::HashSet::new();
    identity.groups.retain(|gid| seen.insert(*gid));
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:100:Web:/srv:/bin/sh\nbroken\n";
        let group = "root:x:0:\nusers:x:100:\nlog:x:7:web,root\n";
        for (user, gid, extra, want) in [
            ("", None, vec![], Ok((0, 0, vec![0, 7], "/root"))),
            ("web", None, vec![], Ok((1000, 100, vec![100, 7], "/srv"))),
            ("web:log", None, vec![5], Ok((1000, 7, vec![7, 5], "/srv"))),
            ("1000", None, vec![7, 9], Ok((1000, 100, vec![100, 7, 9], "/srv"))),
            ("1000", Some(3), vec![], Ok((1000, 3, vec![3], "/srv"))),
            ("4711", None, vec![1], Ok((4711, 0, vec![0, 1], ""))),
            ("4711:12", None, vec![], Ok((4711, 12, vec![12], ""))),
            ("nobody", None, vec![], Err("unable to find user nobody: no matching entries in passwd file")),
            ("web:none", None, vec![], Err("unable to find group none: no matching entries in group file")),
        ] {
            let asked = User { user: user.to_owned(), group: gid, supplemental: extra };
            let got = resolve(&asked, passwd, group);
            let want = want.map_err(str::to_owned).map(|(uid, gid, groups, home)| Identity {
                uid,
                gid,
                groups,
                home: home.to_owned(),
            });
            assert_eq!(got, want, "{user}");
        }
    }
}

//! Users and groups of an image: /etc/passwd and /etc/group as text become ids.
//!
//! In: the files' text and a name as USER or `--chown` has it. Out: ids. No effects. Spec: passwd(5), group(5); Dockerfile
//! reference, "USER", "COPY --chown"; Docker's look-up: a name or an id, each with a group or without.

use crate::sandbox::Identity;

/// Why a name stands for nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// No such user, and no number either.
    #[error("no user `{0}` in the image's /etc/passwd")]
    User(String),
    /// No such group, and no number either.
    #[error("no group `{0}` in the image's /etc/group")]
    Group(String),
}

#[derive(Debug)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

#[derive(Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// An image's users and groups.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its ids.
    pub identity: Identity,
    /// Of the user's entry; `/` without one.
    pub home: String,
}

/// A number as passwd has it: the kernel keeps ids below 2^32 - 1.
fn number(text: &str) -> Option<u32> {
    let number = text.parse().ok()?;
    (text.bytes().all(|byte| byte.is_ascii_digit()) && number != u32::MAX).then_some(number)
}

impl Accounts {
    /// Reads the files; lines that are none of theirs are passed over, as libc does.
    pub(super) fn parse(passwd: &[u8], group: &[u8]) -> Self {
        let text = String::from_utf8_lossy(passwd);
        let users = text.lines().filter_map(|line| {
            let fields: Vec<_> = line.trim().split(':').collect();
            let [name, _, uid, gid, _, home, ..] = fields[..] else {
                return None;
            };
            Some(User {
                name: name.to_owned(),
                uid: number(uid)?,
                gid: number(gid)?,
                home: home.to_owned(),
            })
        });
        let users = users.collect();
        let text = String::from_utf8_lossy(group);
        let groups = text.lines().filter_map(|line| {
            let mut fields = line.trim().split(':');
            let (name, gid) = (fields.next()?, fields.nth(1)?);
            let members = fields.next().unwrap_or_default();
            Some(Group {
                name: name.to_owned(),
                gid: number(gid)?,
                members: members
                    .split(',')
                    .filter(|member| !member.is_empty())
                    .map(str::to_owned)
                    .collect(),
            })
        });
        Self {
            users,
            groups: groups.collect(),
        }
    }

    fn user(&self, name: &str) -> Option<&User> {
        let named = self.users.iter().find(|user| user.name == name);
        named.or_else(|| self.users.iter().find(|user| Some(user.uid) == number(name)))
    }

    fn group(&self, name: &str) -> Result<u32, AccountError> {
        let named = self
            .groups
            .iter()
            .find(|group| group.name == name)
            .map(|group| group.gid);
        named
            .or_else(|| number(name))
            .ok_or_else(|| AccountError::Group(name.to_owned()))
    }

    /// Who `USER spec` is: `name`, `id`, each with `:group` or not; empty is root. Without a group, the groups that list the user
    /// come along.
    pub(super) fn account(&self, spec: &str) -> Result<Account, AccountError> {
        let (name, group) = spec
            .split_once(':')
            .map_or((spec, None), |(name, group)| (name, Some(group)));
        let name = if name.is_empty() { "0" } else { name };
        let user = self.user(name);
        let uid = match user {
            Some(user) => user.uid,
            None => number(name).ok_or_else(|| AccountError::User(name.to_owned()))?,
        };
        let mut groups = Vec::new();
        let gid = match group {
            Some(group) if !group.is_empty() => self.group(group)?,
            _ => {
                let listed = self
                    .groups
                    .iter()
                    .filter(|group| user.is_some_and(|user| group.members.contains(&user.name)));
                groups.extend(listed.map(|group| group.gid));
                user.map_or(0, |user| user.gid)
            }
        };
        groups.sort_unstable();
        groups.dedup();
        let home = user.map(|user| user.home.clone()).filter(|home| !home.is_empty());
        Ok(Account {
            identity: Identity { uid, gid, groups },
            home: home.unwrap_or_else(|| "/".to_owned()),
        })
    }

    /// Whom `--chown=spec` gives files to. A number alone is the group, too; a name alone brings its primary group.
    pub(super) fn owner(&self, spec: &str) -> Result<(u32, u32), AccountError> {
        let (name, group) = spec
            .split_once(':')
            .map_or((spec, None), |(name, group)| (name, Some(group)));
        let (uid, gid) = match number(name) {
            _ if name.is_empty() => (0, 0),
            Some(id) => (id, id),
            None => {
                let user = self.users.iter().find(|user| user.name == name);
                let user = user.ok_or_else(|| AccountError::User(name.to_owned()))?;
                (user.uid, user.gid)
            }
        };
        match group {
            Some(group) if !group.is_empty() => {
                Ok((uid, number(group).map_or_else(|| self.group(group), Ok)?))
            }
            _ => Ok((uid, gid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# comment\nbin:x:1:1::/bin:\nme:x:1000:100:Me:/home/me:/bin/sh\n7up:x:70:70::/:\nbad:x:y:1::/:\n";
        let group = "root:x:0:\nbin:x:1:root,me\nusers:x:100:\nwheel:x:10:root,me\n";
        Accounts::parse(passwd.as_bytes(), group.as_bytes())
    }

    fn account(spec: &str) -> Result<(u32, u32, Vec<u32>, String), AccountError> {
        let Account { identity, home } = accounts().account(spec)?;
        Ok((identity.uid, identity.gid, identity.groups, home))
    }

    #[test]
    fn users_are_names_or_ids_with_groups_or_without() {
        let of = |uid, gid, groups: &[u32], home: &str| Ok((uid, gid, groups.to_vec(), home.to_owned()));
        assert_eq!(account(""), of(0, 0, &[1, 10], "/root"));
        assert_eq!(account("root"), of(0, 0, &[1, 10], "/root"));
        assert_eq!(account("me"), of(1000, 100, &[1, 10], "/home/me"));
        assert_eq!(account("1000"), of(1000, 100, &[1, 10], "/home/me"));
        assert_eq!(account("me:wheel"), of(1000, 10, &[], "/home/me"));
        assert_eq!(account("me:55"), of(1000, 55, &[], "/home/me"));
        assert_eq!(account("4242"), of(4242, 0, &[], "/"));
        assert_eq!(account("4242:4243"), of(4242, 4243, &[], "/"));
        assert_eq!(account("7up"), of(70, 70, &[], "/"));
        assert_eq!(account("you"), Err(AccountError::User("you".into())));
        assert_eq!(account("bad"), Err(AccountError::User("bad".into())));
        assert_eq!(account("me:you"), Err(AccountError::Group("you".into())));
        assert_eq!(account("-1"), Err(AccountError::User("-1".into())));
    }

    #[test]
    fn owners_follow_the_reference() {
        let accounts = accounts();
        for (spec, owner) in [
            ("55:bin", (55, 1)),
            ("bin", (1, 1)),
            ("me", (1000, 100)),
            ("1", (1, 1)),
            ("10:11", (10, 11)),
            ("me:wheel", (1000, 10)),
            ("0:0", (0, 0)),
        ] {
            assert_eq!(accounts.owner(spec), Ok(owner), "{spec}");
        }
        assert!(accounts.owner("you").is_err());
        assert_eq!(Accounts::default().owner("5"), Ok((5, 5)));
    }
}

//! What is wrong with the configured Redis, as an operator is told it.

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, InfoDict, RedisError, cmd};
use tokio::time::timeout;

use super::{Options, SERVICE};
use crate::problem::Problem;
use crate::tls::{self, Opening, Target};

/// `SET … NX GET` is refused by older ones (<https://redis.io/docs/latest/commands/set/>).
const VERSION_MIN: (u32, u32) = (7, 0);

/// Looks at the server; nothing found is an empty list. Takes some seconds at most, changes nothing.
pub async fn check(options: &Options) -> Vec<Problem> {
    let server = match options.server() {
        Ok(server) => server,
        Err(error) => return vec![fatal(error.to_string(), "Correct [redis] url.")],
    };
    let address = options.address();
    let silent = || {
        let ms = options.timeout.as_millis();
        fatal(
            format!("{address} did not answer within {ms} ms"),
            "Look whether that server is alive; its host drops packets, or it hangs.",
        )
    };
    let mut connection = match timeout(options.timeout, server.open(options.timeout)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) if is_refusal(&error) => return vec![problem_of(&address, &error)],
        failed => {
            let target = Target {
                address: address.clone(),
                opening: Opening::Direct(b"PING\r\n"),
                by_address: false,
            };
            if let Some(fault) = tls::ask(target, options.tls.clone()).await {
                return vec![fault.problem(SERVICE, &address)];
            }
            return vec![match failed {
                Ok(Err(error)) if !error.is_timeout() => problem_of(&address, &error),
                _ => silent(),
            }];
        }
    };
    match timeout(options.timeout, look(&mut connection)).await {
        Ok(Ok(problems)) => problems,
        Ok(Err(error)) if error.is_timeout() => vec![silent()],
        Ok(Err(error)) => vec![problem_of(&address, &error)],
        Err(_) => vec![silent()],
    }
}

async fn look(connection: &mut MultiplexedConnection) -> Result<Vec<Problem>, RedisError> {
    let info: InfoDict = cmd("INFO").query_async(connection).await?;
    let text = |key: &str| info.get::<String>(key).unwrap_or_default();
    let mut problems = Vec::new();

    let version = text("redis_version");
    if !new_enough(&version) {
        problems.push(fatal(
            format!("the server is Redis {version}"),
            "Use Redis 7.0 or newer, or a server that speaks as it does.",
        ));
    }
    if text("role") == "slave" {
        problems.push(fatal(
            "the server is a replica and takes no writes".to_owned(),
            "Point [redis] url at the primary.",
        ));
    }
    let policy = text("maxmemory_policy");
    if policy != "noeviction" {
        problems.push(fatal(
            format!("maxmemory-policy is {policy}: a full Redis would forget claims silently"),
            "Set maxmemory-policy to noeviction: a full Redis then refuses claims, and the store of \
             messages recognises retries.",
        ));
    }
    if text("aof_enabled") != "1" {
        problems.push(warning(
            "appendonly is off".to_owned(),
            "After a restart of a Redis without it, with a snapshot or with nothing, every message asks \
             the store for 7 days: set appendonly yes.",
        ));
    }
    if text("loading") == "1" {
        problems.push(warning(
            "the server is still loading its data".to_owned(),
            "Wait until it has.",
        ));
    }
    Ok(problems)
}

fn new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    found >= VERSION_MIN
}

fn is_refusal(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
}

fn problem_of(address: &str, error: &RedisError) -> Problem {
    if is_refusal(error) {
        return fatal(
            format!("{address} refuses the credentials: {error}"),
            "Correct the user and password in [redis], or the user's rights (ACL).",
        );
    }
    fatal(
        format!("{address} cannot be used: {error}"),
        "Look at host and port in [redis] url, and whether the server listens there.",
    )
}

fn fatal(what: String, advice: &str) -> Problem {
    Problem::fatal(SERVICE, what, advice)
}

fn warning(what: String, advice: &str) -> Problem {
    Problem::warning(SERVICE, what, advice)
}

#[cfg(test)]
mod tests {
    use super::new_enough;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(new_enough("7.0.15") && new_enough("10.2") && new_enough("8.0.0-rc1"));
        assert!(!new_enough("6.2.14") && !new_enough("") && !new_enough("x"));
    }
}

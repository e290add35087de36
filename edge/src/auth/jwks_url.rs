//! Where a key set is fetched from: over TLS, or from this host.

use std::net::IpAddr;

use url::{Host, Url};

/// A URL of a key set that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl(Url);

impl JwksUrl {
    /// The URL, or what is wrong with it; the words go on after the name of the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("has a user or a password in it, which nobody is told".into());
        }
        if url.fragment().is_some() {
            return Err("has a fragment (`#`), which is never sent".into());
        }
        let this = Self(url);
        match this.0.scheme() {
            "https" => Ok(this),
            "http" if this.is_of_loopback() => Ok(this),
            "http" => Err(
                "is http: whoever is on the way could give keys of their own, so only loopback may be asked like \
                 that; use https"
                    .into(),
            ),
            other => Err(format!("is of the scheme {other}; it may be https")),
        }
    }

    fn is_of_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        }
    }

    /// Whether TLS says who answers.
    pub(crate) fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether that may be asked: what a name stands for may be anywhere.
    pub(crate) fn may_be_at(&self, ip: IpAddr) -> bool {
        self.is_tls() || ip.is_loopback()
    }

    /// The name or address of the host, without brackets, and the port.
    pub(crate) fn place(&self) -> (String, u16) {
        let host = match self.0.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(ip)) => ip.to_string(),
            Some(Host::Ipv6(ip)) => ip.to_string(),
            None => String::new(),
        };
        (host, self.0.port_or_known_default().unwrap_or(0))
    }

    /// The value of the header `Host`.
    pub(crate) fn authority(&self) -> &str {
        self.0.authority()
    }

    /// What is asked for.
    pub(crate) fn path_and_query(&self) -> &str {
        &self.0[url::Position::BeforePath..url::Position::AfterQuery]
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_and_this_host_are_asked() {
        for good in [
            "https://id.example/.well-known/jwks.json?a=b",
            "http://127.0.0.1:8080/keys",
            "http://[::1]/keys",
            "http://localhost/keys",
        ] {
            assert!(JwksUrl::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("id.example/keys", "no URL"),
            ("http://id.example/keys", "use https"),
            ("http://10.0.0.7/keys", "use https"),
            ("http://localhost.example/keys", "use https"),
            ("file:///etc/keys", "scheme file"),
            ("https://me:secret@id.example/", "password"),
            ("https://id.example/#keys", "fragment"),
        ] {
            let told = JwksUrl::parse(bad).unwrap_err();
            assert!(told.contains(why), "{bad}: {told}");
        }
        let url = JwksUrl::parse("https://[2001:db8::1]:8443/keys?a=b").unwrap();
        assert_eq!(url.place(), ("2001:db8::1".to_owned(), 8443));
        assert_eq!(
            (url.authority(), url.path_and_query()),
            ("[2001:db8::1]:8443", "/keys?a=b")
        );
        assert!(
            !JwksUrl::parse("http://localhost/")
                .unwrap()
                .may_be_at("10.0.0.7".parse().unwrap())
        );
    }
}

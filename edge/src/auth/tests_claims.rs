//! Every claim and every parameter of the header in every wrong shape of JSON, and the exact words for it.

use super::tests::{NOW_MS, NOW_S, SECRET, signed_text};
use super::*;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// What a good token says, by claim.
fn good() -> Vec<(&'static str, String)> {
    vec![
        ("sub", r#""7""#.into()),
        ("device", "2".into()),
        ("exp", (NOW_S + 60).to_string()),
    ]
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<_> = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// The claims of a good token with one in this shape; none: without it.
fn with(claim: &'static str, value: Option<&str>) -> String {
    let mut claims = good();
    claims.retain(|(name, _)| *name != claim);
    claims.extend(value.map(|value| (claim, value.to_owned())));
    object(&claims)
}

/// What a token is refused with, or nothing.
fn told(rules: Rules, header: &str, claims: &str) -> String {
    let verifier = Verifier::new(vec![VerifyingKey::hs256(None, SECRET)], rules);
    let token = signed_text(header, claims, SECRET);
    let verified = verifier.verify(token.as_bytes(), NOW_MS);
    verified.map_or_else(|error| error.to_string(), |_| String::new())
}

fn of_claims(claims: &str) -> String {
    told(Rules::default(), HEADER, claims)
}

/// The shapes of JSON, as they stand in a token and as they are told.
const SHAPES: [(&str, &str); 6] = [
    ("null", "is null"),
    ("true", "is true or false"),
    ("17", "is a number"),
    (r#""x""#, "is a text"),
    ("[]", "is a list"),
    ("{}", "is an object"),
];

const SUB: &str = "a text, the user id from 1 to 2^63-1 in digits";
const DEVICE: &str = "a whole number from 1 to 2^32-1";
const TIME: &str = "in seconds since 1970, before 2106";

#[test]
fn every_claim_in_every_wrong_shape() {
    let claims = [
        ("sub", SUB, r#""x""#),
        ("device", DEVICE, "17"),
        ("exp", TIME, "17"),
        ("nbf", TIME, "17"),
        ("iat", TIME, "17"),
        ("jti", "a text", r#""x""#),
        ("aud", "a text or a list of texts", r#""x" []"#),
    ];
    let mut tried = 0;
    for (claim, wanted, right) in claims {
        for (value, found) in SHAPES {
            if right.contains(value) {
                continue;
            }
            let expected = format!("the token's claim `{claim}` {found}; it must be {wanted}");
            assert_eq!(of_claims(&with(claim, Some(value))), expected);
            tried += 1;
        }
        let twice = with(claim, Some("1")).replace('}', &format!(",\"{claim}\":1}}"));
        let expected =
            format!("the token's claim `{claim}` stands there twice; it must be {wanted}");
        assert_eq!(of_claims(&twice), expected);
        // By another spelling too.
        let (first, rest) = claim.split_at(1);
        let escaped = format!("\\u{:04x}{rest}", first.as_bytes()[0]);
        let twice = with(claim, Some("1")).replace('}', &format!(",\"{escaped}\":1}}"));
        assert_eq!(of_claims(&twice), expected);
    }
    assert_eq!(tried, 6 * 5 + 4);
    for (claim, wanted) in [("sub", SUB), ("device", DEVICE), ("exp", TIME)] {
        let expected = format!("the token's claim `{claim}` is missing; it must be {wanted}");
        assert_eq!(of_claims(&with(claim, None)), expected);
    }
    // What is not understood is not looked at (RFC 7519, 4).
    let unknown = with("color", Some("[1]")).replace('}', ",\"color\":2}");
    assert_eq!(of_claims(&unknown), "");
}

#[test]
fn values_of_the_right_shape_that_cannot_be_meant() {
    let sub = |value: &str| format!("\"{value}\"");
    let mut cases = vec![
        ("sub", sub(""), "is empty", SUB),
        ("sub", sub("0"), "begins with a zero", SUB),
        ("sub", sub("07"), "begins with a zero", SUB),
        ("sub", sub("-7"), "has more than digits", SUB),
        ("sub", sub("+7"), "has more than digits", SUB),
        ("sub", sub(" 7"), "has more than digits", SUB),
        ("sub", sub("7.0"), "has more than digits", SUB),
        ("sub", sub("seven"), "has more than digits", SUB),
        ("sub", sub("٧"), "has more than digits", SUB),
        ("sub", sub("9223372036854775808"), "is too large", SUB),
        (
            "sub",
            sub("99999999999999999999999999"),
            "is too large",
            SUB,
        ),
        ("device", "0".into(), "is 0", DEVICE),
        ("device", "-1".into(), "is negative", DEVICE),
        ("device", "1.5".into(), "has a fraction", DEVICE),
        (
            "device",
            "2.0".into(),
            "is written with a point or an exponent",
            DEVICE,
        ),
        ("device", "4294967296".into(), "is too large", DEVICE),
        ("device", "1e300".into(), "is too large", DEVICE),
    ];
    let too_large = "is too large (milliseconds?)";
    for claim in ["exp", "nbf", "iat"] {
        for (value, found) in [
            ("-1", "is negative"),
            ("-1e300", "is negative"),
            ("4294967296", too_large),
            (&NOW_MS.to_string(), too_large),
            ("18446744073709551615", too_large),
            ("1e20", too_large),
            ("1e300", too_large),
        ] {
            cases.push((claim, value.to_owned(), found, TIME));
        }
    }
    for (claim, value, found, wanted) in cases {
        let expected = format!("the token's claim `{claim}` {found}; it must be {wanted}");
        assert_eq!(of_claims(&with(claim, Some(&value))), expected);
    }
    // No number at all: JSON has no infinity.
    for value in ["1e400", "NaN", "Infinity", "-Infinity"] {
        assert_eq!(
            of_claims(&with("exp", Some(value))),
            "the token is not a JWT in compact form: its claims are not JSON that can be read"
        );
    }
}

/// What is revoked is remembered for as long as it may be valid: so that has an end.
#[test]
fn a_token_lives_no_longer_than_it_may_and_says_when_it_was_issued() {
    let rules = || Rules {
        leeway_ms: 5_000,
        lifetime_max_ms: 100_000,
        ..Rules::default()
    };
    let issued = |iat: Option<u64>, exp: u64| {
        let mut claims = good();
        claims[2].1 = exp.to_string();
        claims.extend(iat.map(|iat| ("iat", iat.to_string())));
        claims.push(("jti", r#""one""#.into()));
        object(&claims)
    };
    let too_far = "the token's claim `exp` lies too far ahead; it must be within the longest time for which this \
                   service takes a token";
    for (iat, exp, expected) in [
        (Some(NOW_S), NOW_S + 100, ""),
        (Some(NOW_S), NOW_S + 101, too_far),
        (Some(NOW_S - 50), NOW_S + 50, ""),
        (Some(NOW_S - 50), NOW_S + 51, too_far),
        (Some(NOW_S + 5), NOW_S + 60, ""),
        (Some(NOW_S + 60), NOW_S + 160, ""),
        (Some(0), NOW_S + 60, too_far),
        (None, NOW_S + 105, ""),
        (None, NOW_S + 106, too_far),
    ] {
        assert_eq!(
            told(rules(), HEADER, &issued(iat, exp)),
            expected,
            "{iat:?} {exp}"
        );
    }
    let verifier = Verifier::new(vec![VerifyingKey::hs256(None, SECRET)], rules());
    for (iat, issued_at_s) in [(Some(NOW_S - 7), NOW_S - 7), (None, NOW_S - 40)] {
        let token = signed_text(HEADER, &issued(iat, NOW_S + 60), SECRET);
        let login = verifier.verify(token.as_bytes(), NOW_MS).unwrap();
        let expected = Credential {
            issued_at_ms: issued_at_s * 1_000,
            token_id: Some(TokenId::of("one")),
        };
        assert_eq!(login.credential, expected);
    }
}

#[test]
fn issuer_and_audience() {
    let rules = |issuer: Option<&str>, audience: Option<&str>| Rules {
        issuer: issuer.map(str::to_owned),
        audience: audience.map(str::to_owned),
        ..Rules::default()
    };
    let both = || rules(Some("us"), Some("chat"));
    let claims = |iss: Option<&str>, aud: Option<&str>| {
        let mut claims = good();
        claims.extend(iss.map(|iss| ("iss", iss.to_owned())));
        claims.extend(aud.map(|aud| ("aud", aud.to_owned())));
        object(&claims)
    };
    let (us, chat) = (Some(r#""us""#), Some(r#""chat""#));
    for aud in [r#""chat""#, r#"["mail","chat"]"#, r#"["chat"]"#] {
        assert_eq!(told(both(), HEADER, &claims(us, Some(aud))), "");
    }
    assert_eq!(told(rules(None, None), HEADER, &claims(us, None)), "");
    let issuer = "the issuer that this service accepts";
    let name = "the name of this service";
    for (iss, aud, expected) in [
        (
            Some(r#""them""#),
            chat,
            format!("`iss` is another's; it must be {issuer}"),
        ),
        (
            Some(r#""""#),
            chat,
            format!("`iss` is another's; it must be {issuer}"),
        ),
        (None, chat, format!("`iss` is missing; it must be {issuer}")),
        (us, None, format!("`aud` is missing; it must be {name}")),
        (
            us,
            Some(r#""mail""#),
            format!("`aud` names others; it must be {name}"),
        ),
        (
            us,
            Some("[]"),
            format!("`aud` names others; it must be {name}"),
        ),
        (
            us,
            Some(r#"["chat",7]"#),
            "`aud` is a list with other things than texts; it must be a text or a list of texts"
                .into(),
        ),
    ] {
        let expected = format!("the token's claim {expected}");
        assert_eq!(told(both(), HEADER, &claims(iss, aud)), expected);
    }
    for (value, found) in SHAPES.iter().filter(|(_, found)| *found != "is a text") {
        let expected = format!("the token's claim `iss` {found}; it must be a text");
        assert_eq!(told(both(), HEADER, &claims(Some(value), chat)), expected);
    }
    // RFC 7519, 4.1.3: for others is not for one without a name.
    for aud in [r#""chat""#, r#"["chat"]"#, "[]", r#""""#] {
        assert_eq!(
            told(rules(None, None), HEADER, &claims(None, Some(aud))),
            "the token's claim `aud` names services; it must be absent: this one was given no name"
        );
    }
}

#[test]
fn every_parameter_of_the_header_in_every_wrong_shape() {
    for (value, found) in SHAPES {
        for parameter in ["alg", "kid"] {
            let mut members = vec![("alg", r#""HS256""#.to_owned())];
            members.retain(|(name, _)| *name != parameter);
            members.push((parameter, value.to_owned()));
            let expected = match (parameter, found) {
                ("alg", "is a text") => "the token's algorithm is not accepted".to_owned(),
                ("kid", "is a text") => String::new(),
                _ => {
                    format!("the token's header parameter `{parameter}` {found}; it must be a text")
                }
            };
            assert_eq!(
                told(Rules::default(), &object(&members), &object(&good())),
                expected
            );
        }
        let members = [("alg", r#""HS256""#.to_owned()), ("crit", value.to_owned())];
        let expected = format!(
            "the token's header parameter `crit` {found}; it must be absent: no extension is known here"
        );
        assert_eq!(
            told(Rules::default(), &object(&members), &object(&good())),
            expected
        );
    }
    for (header, expected) in [
        ("{}", "header parameter `alg` is missing; it must be a text"),
        (
            r#"{"alg":"HS256","alg":"HS256"}"#,
            "header parameter `alg` stands there twice; it must be a text",
        ),
        (
            r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
            "header parameter `kid` stands there twice; it must be a text",
        ),
    ] {
        let said = told(Rules::default(), header, &object(&good()));
        assert_eq!(said, format!("the token's {expected}"));
    }
}

#[test]
fn what_is_no_jwt_says_which_part_of_it() {
    let form = "the token is not a JWT in compact form: ";
    let good = object(&good());
    for (header, claims, expected) in [
        (
            "x",
            good.as_str(),
            "its header is not JSON that can be read",
        ),
        ("[]", &good, "its header is not a JSON object"),
        (HEADER, "", "its claims are not JSON that can be read"),
        (
            HEADER,
            "{\"sub\":",
            "its claims are not JSON that can be read",
        ),
        (HEADER, "{} {}", "its claims are not JSON that can be read"),
        (
            HEADER,
            "\u{feff}{}",
            "its claims are not JSON that can be read",
        ),
        (HEADER, "7", "its claims are not a JSON object"),
        (HEADER, "null", "its claims are not a JSON object"),
        (HEADER, "\"{}\"", "its claims are not a JSON object"),
        (
            HEADER,
            &"[".repeat(1_000),
            "its claims are not a JSON object",
        ),
    ] {
        let said = told(Rules::default(), header, claims);
        assert_eq!(said, format!("{form}{expected}"), "{header} {claims}");
    }
    let verifier = Verifier::new(vec![VerifyingKey::hs256(None, SECRET)], Rules::default());
    let token = signed_text(HEADER, &good, SECRET);
    let parts: Vec<_> = token.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    for (token, expected) in [
        (String::new(), "it is empty"),
        (
            "x".repeat(TOKEN_BYTES_MAX + 1),
            "it is longer than 8,192 bytes",
        ),
        (
            format!("{header}.{claims}"),
            "it has not three parts with dots between them",
        ),
        (
            format!("{token}."),
            "it has not three parts with dots between them",
        ),
        (
            format!("{header}=.{claims}.{signature}"),
            "its header is not base64url without padding",
        ),
        (
            format!("{header}.{claims}.{signature}="),
            "its signature is not base64url without padding",
        ),
    ] {
        let refused = verifier.verify(token.as_bytes(), NOW_MS).unwrap_err();
        assert_eq!(refused.to_string(), format!("{form}{expected}"));
    }
}

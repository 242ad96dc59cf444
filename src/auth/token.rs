//! Bearer tokens: HS256 JWTs as an Express back end signs them.
//!
//! The library checks form and signature only; the claims are checked here, against a time that the caller passes in.
//! Signatures are compared in constant time by the library.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::identity::{Identity, TenantId, UserId};
use super::keys::{KeyError, SigningKey};

/// The longest token that is read, in bytes; HTTP servers refuse longer headers anyway.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// What a token must say besides being signed and not expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// The `iss` that is demanded, if any.
    pub issuer: Option<String>,
    /// The audience that `aud` must be or contain, if any.
    pub audience: Option<String>,
    /// How far the clocks of signer and verifier may differ.
    pub leeway: Duration,
    /// The scope without which a valid token is still forbidden, if any.
    pub required_scope: Option<String>,
    /// The claim that names the user's tenant, if there are tenants. Users without it are of one default tenant.
    pub tenant_claim: Option<String>,
}

impl Default for TokenRules {
    fn default() -> Self {
        TokenRules {
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(30),
            required_scope: None,
            tenant_claim: None,
        }
    }
}

/// Why a token does not let its bearer in. No message repeats anything of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// There is no token.
    #[error("no token was sent")]
    Missing,
    /// Not three base64url parts of JSON, or a claim of the wrong type.
    #[error("the token is not a well-formed JWT of at most {MAX_TOKEN_BYTES} bytes")]
    Malformed,
    /// The signature is not from the configured secret.
    #[error("the token's signature does not match the configured secret")]
    BadSignature,
    /// Signed with (or pretending) another algorithm than HS256.
    #[error("the token must be signed with HS256")]
    WrongAlgorithm,
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// There is no `exp`.
    #[error("the token has no expiry (exp)")]
    NoExpiry,
    /// `nbf` is still to come.
    #[error("the token is not valid yet (nbf)")]
    NotYetValid,
    /// `iss` is missing or another one.
    #[error("the token is not from the configured issuer (iss)")]
    WrongIssuer,
    /// `aud` is missing or does not name us.
    #[error("the token is not for the configured audience (aud)")]
    WrongAudience,
    /// None of `sub`, `userId` and `id` names a user.
    #[error("the token names no user: sub, userId or id must be a number or 1 to 128 bytes of printable text")]
    NoUser,
    /// The tenant's claim is there, and is no tenant.
    #[error("the token's tenant must be a whole number or 1 to 128 bytes of printable text")]
    BadTenant,
    /// A good token without the required scope.
    #[error("the token lacks the required scope")]
    Forbidden,
}

impl TokenError {
    /// Every error, for tables.
    pub const ALL: [TokenError; 12] = [
        TokenError::Missing,
        TokenError::Malformed,
        TokenError::BadSignature,
        TokenError::WrongAlgorithm,
        TokenError::Expired,
        TokenError::NoExpiry,
        TokenError::NotYetValid,
        TokenError::WrongIssuer,
        TokenError::WrongAudience,
        TokenError::NoUser,
        TokenError::BadTenant,
        TokenError::Forbidden,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            TokenError::Missing => "missing",
            TokenError::Malformed => "malformed",
            TokenError::BadSignature => "bad_signature",
            TokenError::WrongAlgorithm => "wrong_algorithm",
            TokenError::Expired => "expired",
            TokenError::NoExpiry => "no_expiry",
            TokenError::NotYetValid => "not_yet_valid",
            TokenError::WrongIssuer => "wrong_issuer",
            TokenError::WrongAudience => "wrong_audience",
            TokenError::NoUser => "no_user",
            TokenError::BadTenant => "bad_tenant",
            TokenError::Forbidden => "forbidden",
        }
    }
}

/// Verifies and signs tokens with one secret and one set of rules. It does not print the secret.
#[derive(Clone, Debug)]
pub struct Tokens {
    key: SigningKey,
    rules: TokenRules,
    form: Validation,
}

impl Tokens {
    /// Puts a secret and the rules together.
    pub fn new(key: SigningKey, rules: TokenRules) -> Tokens {
        // The claims are checked below: the library reads the system clock, and lets a missing or odd `iss` pass.
        let mut form = Validation::new(Algorithm::HS256);
        form.required_spec_claims.clear();
        form.validate_exp = false;
        form.validate_nbf = false;
        form.validate_aud = false;
        Tokens { key, rules, form }
    }

    /// Says who the bearer of a token is at `now_unix_s` (seconds since 1970-01-01 UTC).
    ///
    /// A token is good until `exp` plus the leeway and from `nbf` minus the leeway. The user is the first present of
    /// `sub`, `userId` and `id`; scopes are the words of `scope` and the members of `scopes`.
    pub fn verify(&self, token: &str, now_unix_s: u64) -> Result<Identity, TokenError> {
        let identity = self.verify_for(None, token, now_unix_s)?;
        if self.may_call(&identity) { Ok(identity) } else { Err(TokenError::Forbidden) }
    }

    /// Whether somebody has the scope that calls need, if they need one.
    pub fn may_call(&self, identity: &Identity) -> bool {
        self.rules.required_scope.as_ref().is_none_or(|required| identity.scopes.contains(required))
    }

    /// The same for whoever wants to do something else than to call: with this scope, if one is named, and without the
    /// one that calls need.
    pub fn verify_for(&self, scope: Option<&str>, token: &str, now_unix_s: u64) -> Result<Identity, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        check_header(token)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key.decoding, &self.form)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidSignature => TokenError::BadSignature,
                ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => TokenError::WrongAlgorithm,
                _ => TokenError::Malformed,
            })?
            .claims;
        let expires_at_unix_s = self.check_times(&claims, now_unix_s)?;
        self.check_origin(&claims)?;
        let user = claims.user()?;
        let tenant = self.rules.tenant_claim.as_ref().map_or(Ok(TenantId::default()), |name| claims.tenant(name))?;
        let scopes = claims.scopes();
        match scope {
            Some(required) if !scopes.iter().any(|scope| scope == required) => Err(TokenError::Forbidden),
            _ => Ok(Identity { user, tenant, expires_at_unix_s, scopes }),
        }
    }

    /// Whether the token that `identity` was verified by would be refused as expired now.
    pub fn has_expired(&self, identity: &Identity, now_unix_s: u64) -> bool {
        now_unix_s >= identity.expires_at_unix_s.saturating_add(self.rules.leeway.as_secs())
    }

    /// Signs a token for `user` that these rules accept from `now_unix_s` on, for `ttl`.
    pub fn mint(&self, user: &UserId, ttl: Duration, now_unix_s: u64) -> Result<SecretString, KeyError> {
        self.mint_with(user, None, ttl, now_unix_s)
    }

    /// The same, with a scope beside the one that calls need.
    pub fn mint_with(
        &self,
        user: &UserId,
        scope: Option<&str>,
        ttl: Duration,
        now_unix_s: u64,
    ) -> Result<SecretString, KeyError> {
        let scopes: Vec<&str> = self.rules.required_scope.as_deref().into_iter().chain(scope).collect();
        let scope = Some(scopes.join(" ")).filter(|scopes| !scopes.is_empty());
        let mut claims = json!({
            "sub": user.expose(),
            "iat": now_unix_s,
            "exp": now_unix_s.saturating_add(ttl.as_secs()),
        });
        let optional = [("iss", &self.rules.issuer), ("aud", &self.rules.audience), ("scope", &scope)];
        for (name, value) in optional {
            if let Some(value) = value {
                claims[name] = json!(value);
            }
        }
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key.encoding)
            .map(SecretString::from)
            .map_err(|_| KeyError::Signing)
    }

    fn check_times(&self, claims: &Claims, now_unix_s: u64) -> Result<u64, TokenError> {
        let leeway_s = self.rules.leeway.as_secs();
        let expires_at_unix_s = seconds(claims.exp.as_ref().ok_or(TokenError::NoExpiry)?)?;
        if now_unix_s >= expires_at_unix_s.saturating_add(leeway_s) {
            return Err(TokenError::Expired);
        }
        match &claims.nbf {
            Some(nbf) if now_unix_s.saturating_add(leeway_s) < seconds(nbf)? => Err(TokenError::NotYetValid),
            _ => Ok(expires_at_unix_s),
        }
    }

    fn check_origin(&self, claims: &Claims) -> Result<(), TokenError> {
        let names = |claim: &Option<Value>, wanted: &str| match claim {
            Some(Value::String(one)) => one == wanted,
            Some(Value::Array(several)) => several.iter().any(|one| one == wanted),
            _ => false,
        };
        if let Some(issuer) = &self.rules.issuer
            && !names(&claims.iss, issuer)
        {
            return Err(TokenError::WrongIssuer);
        }
        if let Some(audience) = &self.rules.audience
            && !names(&claims.aud, audience)
        {
            return Err(TokenError::WrongAudience);
        }
        Ok(())
    }
}

/// The claims that matter here, of any type: each check decides what it takes. `null` counts as absent.
#[derive(Deserialize)]
struct Claims {
    exp: Option<Value>,
    nbf: Option<Value>,
    iss: Option<Value>,
    aud: Option<Value>,
    sub: Option<Value>,
    #[serde(rename = "userId")]
    user_id: Option<Value>,
    id: Option<Value>,
    scope: Option<Value>,
    scopes: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Claims {
    fn user(&self) -> Result<UserId, TokenError> {
        let first = self.sub.as_ref().or(self.user_id.as_ref()).or(self.id.as_ref());
        let id = match first {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) if !id.is_f64() => id.to_string(),
            _ => return Err(TokenError::NoUser),
        };
        UserId::new(id).map_err(|_| TokenError::NoUser)
    }

    /// The tenant that the claim of this name says: a wrong one is no reason to count as somebody else's.
    fn tenant(&self, claim: &str) -> Result<TenantId, TokenError> {
        let said = match claim {
            "iss" => self.iss.as_ref(),
            "aud" => self.aud.as_ref(),
            "sub" => self.sub.as_ref(),
            "userId" => self.user_id.as_ref(),
            "id" => self.id.as_ref(),
            "scope" => self.scope.as_ref(),
            _ => self.others.get(claim),
        };
        let name = match said {
            None | Some(Value::Null) => return Ok(TenantId::default()),
            Some(Value::String(name)) => TenantId::new(name),
            Some(Value::Number(name)) if !name.is_f64() => TenantId::new(&name.to_string()),
            Some(_) => return Err(TokenError::BadTenant),
        };
        name.map_err(|_| TokenError::BadTenant)
    }

    fn scopes(&self) -> Vec<String> {
        let mut scopes = Vec::new();
        for claim in [&self.scope, &self.scopes].into_iter().flatten() {
            match claim {
                Value::String(words) => scopes.extend(words.split_whitespace().map(str::to_owned)),
                Value::Array(items) => scopes.extend(items.iter().filter_map(Value::as_str).map(str::to_owned)),
                _ => {}
            }
        }
        scopes
    }
}

/// The first look at a token: our algorithm, and no extension that we would have to understand (RFC 7515, `crit`).
fn check_header(token: &str) -> Result<(), TokenError> {
    let encoded = token.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Malformed)?;
    let header: Value = serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)?;
    match header.get("alg").and_then(Value::as_str) {
        Some("HS256") if header.get("crit").is_none() => Ok(()),
        Some("HS256") | None => Err(TokenError::Malformed),
        Some(_) => Err(TokenError::WrongAlgorithm),
    }
}

/// A JWT's `NumericDate`: seconds since 1970, whole or with a fraction, which is cut off.
fn seconds(claim: &Value) -> Result<u64, TokenError> {
    let fractional = claim.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    // The cast saturates, which is what a date beyond the end of time should do.
    claim.as_u64().or(fractional.map(|seconds| seconds as u64)).ok_or(TokenError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    const SECRET: &str = "a secret of more than 32 bytes for tests";
    const NOW: u64 = 1_800_000_000;

    fn tokens(rules: TokenRules) -> Tokens {
        Tokens::new(SigningKey::new(&SECRET.into()).unwrap(), rules)
    }

    fn strict() -> TokenRules {
        TokenRules {
            issuer: Some("https://aurora.example".into()),
            audience: Some("tandem".into()),
            required_scope: Some("voice".into()),
            ..TokenRules::default()
        }
    }

    fn sign_with(header: &Header, secret: &str, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &jsonwebtoken::EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn sign(claims: Value) -> String {
        sign_with(&Header::new(Algorithm::HS256), SECRET, &claims)
    }

    /// A token made by hand, signed rightly whatever its parts say.
    fn sign_raw(header: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }

    fn verdict(rules: TokenRules, claims: Value) -> Result<String, TokenError> {
        tokens(rules).verify(&sign(claims), NOW).map(|identity| identity.user.expose().to_owned())
    }

    #[test]
    fn a_token_signed_by_another_stack_is_verified() {
        // RFC 7515, appendix A.1: secret and token as printed there.
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let secret = URL_SAFE_NO_PAD.decode(secret).unwrap();
        let key = SigningKey {
            encoding: jsonwebtoken::EncodingKey::from_secret(&secret),
            decoding: jsonwebtoken::DecodingKey::from_secret(&secret),
        };
        let token = concat!(
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.",
            "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
        // It names no user, which is looked at last.
        let tokens = Tokens::new(key, TokenRules::default());
        assert_eq!(tokens.verify(token, 1_300_819_000), Err(TokenError::NoUser));
        assert_eq!(tokens.verify(token, 1_300_819_410), Err(TokenError::Expired));
    }

    #[test]
    fn the_user_is_the_first_of_sub_user_id_and_id() {
        let exp = NOW + 60;
        let table = [
            (json!({"exp": exp, "sub": "s", "userId": "u", "id": "i"}), Ok("s")),
            (json!({"exp": exp, "userId": "u", "id": "i"}), Ok("u")),
            (json!({"exp": exp, "sub": null, "id": "i"}), Ok("i")),
            (json!({"exp": exp, "id": 42}), Ok("42")),
            (json!({"exp": exp, "id": 1.5}), Err(TokenError::NoUser)),
            (json!({"exp": exp, "sub": "", "id": "i"}), Err(TokenError::NoUser)),
            (json!({"exp": exp, "sub": 42}), Ok("42")),
            (json!({"exp": exp, "sub": true}), Err(TokenError::NoUser)),
            (json!({"exp": exp, "sub": {"id": "i"}}), Err(TokenError::Malformed)),
            (json!({"exp": exp, "sub": "a\nb"}), Err(TokenError::NoUser)),
            (json!({"exp": exp, "sub": "x".repeat(129)}), Err(TokenError::NoUser)),
            (json!({"exp": exp, "email": "ada@example.org"}), Err(TokenError::NoUser)),
        ];
        for (claims, expected) in table {
            assert_eq!(verdict(TokenRules::default(), claims.clone()), expected.map(str::to_owned), "{claims}");
        }
    }

    #[test]
    fn the_tenant_is_what_the_configured_claim_says_and_one_for_all_without_it() {
        let tenant = |rules: &TokenRules, more: Value| {
            let mut claims = json!({"exp": NOW + 60, "sub": "s", "iss": "acme", "aud": ["a"]});
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            tokens(rules.clone()).verify(&sign(claims), NOW).map(|identity| identity.tenant)
        };
        let named = |name: &str| Ok(TenantId::new(name).unwrap());
        let by = |claim: &str| TokenRules { tenant_claim: Some(claim.into()), ..TokenRules::default() };
        let usual = by("tenant");
        for (rules, more, expected) in [
            (&usual, json!({"tenant": "acme"}), named("acme")),
            (&usual, json!({"tenant": 7}), named("7")),
            (&usual, json!({}), Ok(TenantId::default())),
            (&usual, json!({"tenant": null}), Ok(TenantId::default())),
            (&usual, json!({"tenant": ""}), Err(TokenError::BadTenant)),
            (&usual, json!({"tenant": 1.5}), Err(TokenError::BadTenant)),
            (&usual, json!({"tenant": ["acme"]}), Err(TokenError::BadTenant)),
            (&usual, json!({"tenant": "x".repeat(129)}), Err(TokenError::BadTenant)),
            (&by("org"), json!({"org": "acme", "tenant": "other"}), named("acme")),
            (&by("iss"), json!({"tenant": "other"}), named("acme")),
            (&by("aud"), json!({}), Err(TokenError::BadTenant)),
            (&by("userId"), json!({"userId": 7}), named("7")),
            (&TokenRules { tenant_claim: None, ..usual.clone() }, json!({"tenant": ["a"]}), Ok(TenantId::default())),
        ] {
            assert_eq!(tenant(rules, more.clone()), expected, "{more}");
        }
    }

    #[test]
    fn times_are_held_against_the_given_now_with_leeway() {
        let table = [
            (json!({"sub": "s"}), Err(TokenError::NoExpiry)),
            (json!({"sub": "s", "exp": null}), Err(TokenError::NoExpiry)),
            (json!({"sub": "s", "exp": "soon"}), Err(TokenError::Malformed)),
            (json!({"sub": "s", "exp": -5}), Err(TokenError::Malformed)),
            (json!({"sub": "s", "exp": [NOW + 60]}), Err(TokenError::Malformed)),
            (json!({"sub": "s", "exp": NOW - 29}), Ok("s")),
            (json!({"sub": "s", "exp": NOW - 30}), Err(TokenError::Expired)),
            (json!({"sub": "s", "exp": NOW as f64 + 0.5}), Ok("s")),
            (json!({"sub": "s", "exp": u64::MAX}), Ok("s")),
            (json!({"sub": "s", "exp": 1e300}), Ok("s")),
            (json!({"sub": "s", "exp": NOW + 60, "nbf": NOW + 30}), Ok("s")),
            (json!({"sub": "s", "exp": NOW + 60, "nbf": NOW + 31}), Err(TokenError::NotYetValid)),
            (json!({"sub": "s", "exp": NOW + 60, "nbf": "later"}), Err(TokenError::Malformed)),
        ];
        for (claims, expected) in table {
            assert_eq!(verdict(TokenRules::default(), claims.clone()), expected.map(str::to_owned), "{claims}");
        }
    }

    #[test]
    fn issuer_audience_and_scope_count_once_they_are_configured() {
        let good =
            json!({"sub": "s", "exp": NOW + 60, "iss": "https://aurora.example", "aud": "tandem", "scope": "a voice"});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        let table = [
            (good.clone(), Ok("s")),
            (with("aud", json!(["other", "tandem"])), Ok("s")),
            (with("aud", json!("other")), Err(TokenError::WrongAudience)),
            (with("aud", Value::Null), Err(TokenError::WrongAudience)),
            (with("aud", json!(7)), Err(TokenError::WrongAudience)),
            (with("iss", json!("https://evil.example")), Err(TokenError::WrongIssuer)),
            (with("iss", Value::Null), Err(TokenError::WrongIssuer)),
            (with("iss", json!({"x": 1})), Err(TokenError::WrongIssuer)),
            (with("scope", json!("voices")), Err(TokenError::Forbidden)),
            (with("scope", Value::Null), Err(TokenError::Forbidden)),
            (with("scopes", json!(["voice"])), Ok("s")),
        ];
        for (claims, expected) in table {
            assert_eq!(verdict(strict(), claims.clone()), expected.map(str::to_owned), "{claims}");
            assert_eq!(verdict(TokenRules::default(), claims), Ok("s".to_owned()));
        }
    }

    #[test]
    fn the_algorithm_is_ours_to_choose() {
        let claims = json!({"sub": "s", "exp": NOW + 60});
        let body = claims.to_string();
        let tokens = tokens(TokenRules::default());
        let unsigned = |alg: &str| {
            format!("{}.{}.", URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}"}}"#)), URL_SAFE_NO_PAD.encode(&body))
        };
        for alg in ["none", "None", "hs256", "RS256", "ES256", "EdDSA", "dir", ""] {
            assert_eq!(tokens.verify(&unsigned(alg), NOW), Err(TokenError::WrongAlgorithm), "{alg}");
            let signed = sign_raw(&format!(r#"{{"alg":"{alg}"}}"#), &body);
            assert_eq!(tokens.verify(&signed, NOW), Err(TokenError::WrongAlgorithm), "{alg}");
        }
        for alg in [Algorithm::HS384, Algorithm::HS512] {
            let token = sign_with(&Header::new(alg), SECRET, &claims);
            assert_eq!(tokens.verify(&token, NOW), Err(TokenError::WrongAlgorithm));
        }
        assert!(tokens.verify(&sign_raw(r#"{"alg":"HS256"}"#, &body), NOW).is_ok());
        let critical = sign_raw(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &body);
        assert_eq!(tokens.verify(&critical, NOW), Err(TokenError::Malformed));
    }

    #[test]
    fn a_changed_token_or_another_secret_is_found_out() {
        let tokens = tokens(TokenRules::default());
        let claims = json!({"sub": "s", "exp": NOW + 60});
        let other = sign_with(&Header::new(Algorithm::HS256), "another secret", &claims);
        assert_eq!(tokens.verify(&other, NOW), Err(TokenError::BadSignature));

        let good = sign(claims);
        let (message, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let body = URL_SAFE_NO_PAD.encode(json!({"sub": "root", "exp": NOW + 60}).to_string());
        assert_eq!(tokens.verify(&format!("{header}.{body}.{signature}"), NOW), Err(TokenError::BadSignature));
        assert_eq!(tokens.verify(&format!("{message}."), NOW), Err(TokenError::BadSignature));
        assert_eq!(tokens.verify(&format!("{message}.{}", &signature[..20]), NOW), Err(TokenError::BadSignature));
    }

    #[test]
    fn what_is_no_token_is_told_so() {
        let tokens = tokens(TokenRules::default());
        assert_eq!(tokens.verify("", NOW), Err(TokenError::Missing));
        let twice = sign_raw(r#"{"alg":"HS256"}"#, &format!(r#"{{"sub":"a","sub":"b","exp":{}}}"#, NOW + 60));
        let long = "a".repeat(MAX_TOKEN_BYTES + 1);
        let (list, header_only) = (sign_raw(r#"{"alg":"HS256"}"#, "[]"), sign_raw("[]", "{}"));
        let good = sign(json!({"sub": "s", "exp": NOW + 60}));
        let more = format!("{good}.x");
        for bad in ["a", "...", "a.b.c", "Bearer x", " ", "é.é.é", &long, &twice, &list, &header_only, &more] {
            assert_eq!(tokens.verify(bad, NOW), Err(TokenError::Malformed), "{bad}");
        }
    }

    #[test]
    fn what_is_minted_is_accepted_until_it_expires() {
        let tokens = tokens(strict());
        let ada = UserId::new("ada").unwrap();
        let operator = sign(
            json!({"iss": "https://aurora.example", "aud": "tandem", "sub": "ops", "scope": "tandem:operate", "exp": NOW + 60}),
        );
        assert_eq!(tokens.verify(&operator, NOW), Err(TokenError::Forbidden), "who operates need not be one who calls");
        assert!(tokens.verify_for(Some("tandem:operate"), &operator, NOW).is_ok());
        assert_eq!(tokens.verify_for(Some("other"), &operator, NOW), Err(TokenError::Forbidden));
        let scoped = tokens.mint_with(&ada, Some("tandem:operate"), Duration::from_secs(60), NOW).unwrap();
        assert_eq!(tokens.verify(scoped.expose_secret(), NOW).unwrap().scopes, ["voice", "tandem:operate"]);
        let token = tokens.mint(&ada, Duration::from_secs(60), NOW).unwrap();
        let identity = tokens.verify(token.expose_secret(), NOW + 89).unwrap();
        assert_eq!(
            identity,
            Identity {
                user: ada,
                tenant: TenantId::default(),
                expires_at_unix_s: NOW + 60,
                scopes: vec!["voice".into()]
            }
        );
        assert_eq!(tokens.verify(token.expose_secret(), NOW + 90), Err(TokenError::Expired));
        assert!(!format!("{tokens:?}").contains(SECRET));
    }

    #[test]
    fn every_error_has_its_own_label() {
        let labels: std::collections::HashSet<_> = TokenError::ALL.iter().map(|error| error.label()).collect();
        assert_eq!(labels.len(), TokenError::ALL.len());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_none_gets_in(token in ".{0,300}") {
            prop_assert!(tokens(TokenRules::default()).verify(&token, NOW).is_err());
        }

        #[test]
        fn one_changed_character_of_a_good_token_never_gets_in(at in 0..150usize, to in "[A-Za-z0-9_.-]") {
            let good = sign(json!({"sub": "somebody", "exp": NOW + 60, "scope": "a b c"}));
            let at = at % good.len();
            prop_assume!(good[at..=at] != to);
            let bad = format!("{}{to}{}", &good[..at], &good[at + 1..]);
            prop_assert!(tokens(TokenRules::default()).verify(&bad, NOW).is_err());
        }

        #[test]
        fn signed_nonsense_is_judged_without_panic(header in ".{0,60}", claims in ".{0,200}") {
            let _verdict = tokens(strict()).verify(&sign_raw(&header, &claims), NOW);
            let claims = format!(r#"{{"sub":{claims:?},"exp":{NOW}}}"#);
            let token = sign_raw(r#"{"alg":"HS256"}"#, &claims);
            prop_assert!(tokens(strict()).verify(&token, NOW).is_err());
        }
    }
}

//! A certificate authority for one test, with what Consul and its clients need of it.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Certificates and keys as PEM: those of a Consul server, of a client, and of a client whose
/// authority nobody trusts. Valid from long ago for a long time; gone with the test.
#[derive(Debug, Clone)]
pub struct Pki {
    /// The authority's certificate.
    pub ca: String,
    /// A server's, for `server.<datacenter>.consul` and 127.0.0.1.
    pub server: Identity,
    /// A client's.
    pub client: Identity,
    /// A client's, of another authority.
    pub stranger: Identity,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Pki {
    /// Makes new ones for the servers of a datacenter.
    ///
    /// # Errors
    /// The cryptography fails.
    pub fn for_datacenter(datacenter: &str) -> Result<Self, rcgen::Error> {
        let (ca, issuer) = authority("consul-resolver test CA")?;
        let (_, strange) = authority("another CA")?;
        let server = format!("server.{datacenter}.consul");
        Ok(Self {
            ca,
            server: identity(&issuer, &[&server, "localhost", "127.0.0.1"])?,
            client: identity(&issuer, &["envoy.internal"])?,
            stranger: identity(&strange, &["envoy.internal"])?,
        })
    }
}

/// Makes an authority, of which this is the certificate, and of it one for each of these names.
///
/// # Errors
/// The cryptography fails.
pub fn certified(names: &[&str]) -> Result<(String, Vec<Identity>), rcgen::Error> {
    let (ca, issuer) = authority("consul-resolver test CA")?;
    let identities =
        names.iter().map(|name| identity(&issuer, &[name])).collect::<Result<_, _>>()?;
    Ok((ca, identities))
}

fn authority(name: &str) -> Result<(String, Issuer<'static, KeyPair>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?.pem();
    Ok((certificate, Issuer::new(params, key)))
}

/// For both sides: Consul's servers are clients of each other.
fn identity(issuer: &Issuer<'_, KeyPair>, names: &[&str]) -> Result<Identity, rcgen::Error> {
    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, issuer)?.pem();
    Ok(Identity { certificate, key: key.serialize_pem() })
}

package wiremesh.peers;

import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;

/** A certificate in a file of the kind that Connector/J takes. */
final class TrustStore {
    private TrustStore() {}

    static Path of(String certificate) {
        try (InputStream pem = Files.newInputStream(Path.of(certificate))) {
            KeyStore store = KeyStore.getInstance("PKCS12");
            store.load(null, null);
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(pem));
            Path path = Files.createTempFile("ca", ".p12");
            path.toFile().deleteOnExit();
            try (OutputStream out = Files.newOutputStream(path)) {
                store.store(out, "secret".toCharArray());
            }
            return path;
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }
}

package wiremesh.peers;

import static wiremesh.peers.Driver.all;
import static wiremesh.peers.Driver.one;
import static wiremesh.peers.Steps.equal;

import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/**
 * Logs in by several ways to the same server, and does no more than see how it came in. Each is
 * {@code CLIENT-SERVER=HOST:PORT}: whether that leg has TLS ({@code TLS}) or not ({@code clear}). The last has it on both.
 */
final class Ways {
    private record Way(String name, String address) {
        static Way of(String text) {
            String[] parts = text.split("=");
            return new Way(parts[0], parts[1]);
        }
    }

    private final Driver driver;
    /** What asks for TLS: made once, since a store of certificates takes its time. */
    private final String tls;
    private final List<Way> ways;

    Ways(Driver driver, String ca, String[] ways) {
        this.driver = driver;
        tls = driver.tls(ca);
        this.ways = Arrays.stream(ways).map(Way::of).toList();
    }

    void run(Steps steps, Connection c, Map<String, String> accounts) {
        accounts.forEach((user, password) -> ways.forEach(way -> steps.step(user + " " + way.name, () -> {
            // Of caching_sha2_password the first is full authentication, the second the fast one.
            Driver.run(c, "flush privileges");
            List<String> seen = new ArrayList<>();
            for (int n = 0; n < 2; n++) seen.add(enter(way, user, password));
            if (seen.get(1).equals("1045")) {
                enter(ways.get(ways.size() - 1), user, password);
                seen.add(enter(way, user, password));
            }
            seen.add(enter(way, user, password + "x"));
            return String.join(", ", seen);
        })));
        steps.end();
    }

    /** Who it is, and whether the server sees TLS; or the number of the error. */
    private String enter(Way way, String user, String password) throws SQLException {
        Connection opened;
        try {
            opened = driver.connect(way.address, "test", user, password, way.name.startsWith("TLS") ? tls : "");
        } catch (SQLException e) {
            if (e.getErrorCode() == 0) throw e;
            return String.valueOf(e.getErrorCode());
        }
        try (Connection d = opened) {
            boolean secure = !all(d, "show status like 'Ssl_cipher'").get(0).get(1).isEmpty();
            // Several records of TLS.
            equal(100_000, one(d, "select repeat('x', 100000)").length());
            return one(d, "select current_user()") + (secure ? " TLS" : " clear");
        }
    }
}

package wiremesh.peers;

import java.sql.SQLException;
import java.util.List;
import java.util.concurrent.Callable;

/**
 * Runs steps but those of SKIP_STEPS ({@code NAME;NAME}), prints {@code ok NAME: ...} or {@code FAIL NAME: ...} for each,
 * and a last line.
 */
final class Steps {
    private final List<String> skipped = List.of(System.getenv().getOrDefault("SKIP_STEPS", "").split(";"));
    private int ok;
    private int failed;

    void step(String name, Callable<Object> body) {
        if (skipped.contains(name)) return;
        try {
            Object seen = body.call();
            ok++;
            System.out.printf("ok %s: %s%n", name, brief(seen));
        } catch (Throwable t) {
            failed++;
            t.printStackTrace();
            System.out.printf("FAIL %s: %s%n", name, brief(t));
        }
        System.out.flush();
    }

    /** Prints the verdict and ends the process, whatever threads the libraries left. */
    void end() {
        boolean pass = failed == 0 && ok > 0;
        System.out.printf("%s %d ok, %d failed%n", pass ? "PASS" : "FAILED", ok, failed);
        System.out.flush();
        Runtime.getRuntime().halt(pass ? 0 : 1);
    }

    static void check(boolean right, Object seen) {
        if (!right) throw new IllegalStateException("saw " + brief(seen));
    }

    static void equal(Object want, Object seen) {
        String wanted = String.valueOf(want);
        if (!wanted.equals(String.valueOf(seen))) {
            throw new IllegalStateException("wanted " + brief(want) + ", saw " + brief(seen));
        }
    }

    /** What the error says that the body has to end with. */
    static String refused(int code, Callable<?> body) throws Exception {
        Object seen;
        try {
            seen = body.call();
        } catch (SQLException e) {
            // MariaDB's driver puts the connection's number before it.
            String text = e.getMessage().replaceAll("\\(conn=-?\\d+\\) ", "");
            if (e.getErrorCode() != code) throw e;
            return e.getErrorCode() + "/" + e.getSQLState() + " " + text;
        }
        throw new IllegalStateException("wanted error " + code + ", saw " + brief(seen));
    }

    /** Asks until it is so. */
    static void until(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + 20_000_000_000L;
        while (!condition.call()) {
            check(System.nanoTime() < end, "still not: " + what);
            Thread.sleep(20);
        }
    }

    private static String brief(Object o) {
        String s = String.valueOf(o).replaceAll("\\s+", " ");
        return s.length() <= 300 ? s : s.substring(0, 200) + "... " + s.length() + " " + s.hashCode();
    }
}

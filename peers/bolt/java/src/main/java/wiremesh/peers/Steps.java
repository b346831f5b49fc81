package wiremesh.peers;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicLong;

/** Runs steps, prints {@code ok NAME ...} or {@code FAIL NAME ...} for each, and a last line. */
final class Steps {
    private static final String RUN = Long.toHexString(System.nanoTime());
    private static final AtomicLong NONCE = new AtomicLong();
    private static final BufferedReader STDIN = new BufferedReader(new InputStreamReader(System.in));
    private int ok;
    private int failed;

    void step(String name, Callable<Object> body) {
        long start = System.nanoTime();
        try {
            Object detail = body.call();
            ok++;
            print("ok", name, detail, start);
        } catch (Throwable t) {
            failed++;
            print("FAIL", name, t, start);
            if (Boolean.getBoolean("trace")) t.printStackTrace(System.out);
        }
    }

    /** Prints the verdict and ends the process, whatever threads the libraries left. */
    void end() {
        boolean pass = failed == 0 && ok > 0;
        System.out.printf("%s %d ok, %d failed%n", pass ? "PASS" : "FAILED", ok, failed);
        System.out.flush();
        Runtime.getRuntime().halt(pass ? 0 : 1);
    }

    /** Asks whoever started this process to do something, and waits until it says that it is done. */
    static void await(String what) throws IOException {
        System.out.println("await " + what);
        System.out.flush();
        if (STDIN.readLine() == null) throw new IOException("nobody there to do: " + what);
    }

    static void check(boolean right, Object seen) {
        if (!right) throw new IllegalStateException("saw " + brief(seen));
    }

    static void equal(Object want, Object seen) {
        if (!want.equals(seen)) throw new IllegalStateException("wanted " + brief(want) + ", saw " + brief(seen));
    }

    /** Runs the body and returns the throwable of this class that it ends with, however deep. */
    static <E extends Throwable> E thrown(Class<E> wanted, Callable<?> body) {
        Object value;
        try {
            value = body.call();
        } catch (Throwable t) {
            for (Throwable cause = t; cause != null; cause = cause.getCause()) {
                if (wanted.isInstance(cause)) return wanted.cast(cause);
            }
            throw new IllegalStateException("wanted " + wanted.getSimpleName() + ", saw " + t, t);
        }
        throw new IllegalStateException("wanted " + wanted.getSimpleName() + ", saw value " + brief(value));
    }

    /** All messages of a throwable and its causes. */
    static String messages(Throwable t) {
        StringBuilder all = new StringBuilder();
        for (Throwable cause = t; cause != null; cause = cause.getCause()) all.append(cause).append("; ");
        return all.toString();
    }

    /** Text that no other call of any process uses. */
    static String nonce() {
        return RUN + "-" + NONCE.incrementAndGet();
    }

    /** A text of this many characters that starts with a nonce, as far as it fits. */
    static String text(int length) {
        StringBuilder s = new StringBuilder(length + 32).append(nonce()).append(' ');
        while (s.length() < length) s.append((char) ('a' + s.length() % 26));
        s.setLength(length);
        return s.toString();
    }

    static String brief(Object o) {
        String s = String.valueOf(o).replaceAll("\\s+", " ");
        return s.length() <= 160 ? s : s.substring(0, 160) + "...";
    }

    static long millisSince(long nanos) {
        return (System.nanoTime() - nanos) / 1_000_000;
    }

    private static void print(String verdict, String name, Object detail, long start) {
        System.out.printf("%s %s: %s (%d ms)%n", verdict, name, brief(detail), millisSince(start));
        System.out.flush();
    }
}

package wiremesh.peers;

import static wiremesh.peers.Steps.check;
import static wiremesh.peers.Steps.equal;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;

/** Steps that do not care which library makes the call. */
final class Faults {
    /** The name that the proxy's own errors carry. */
    private static final String PROXY = "wiremesh";

    private Faults() {}

    interface Caller {
        String echo(String text) throws Exception;
    }

    /** Many threads on one connection; every answer must be the caller's own. */
    static String concurrent(Caller caller, int threads, int calls) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        List<Future<?>> all = new ArrayList<>();
        for (int t = 0; t < threads; t++) {
            all.add(pool.submit(() -> {
                for (int i = 0; i < calls; i++) {
                    String sent = Steps.text(40 + i * 37 % 3000);
                    equal(sent, caller.echo(sent));
                }
                return null;
            }));
        }
        for (Future<?> one : all) one.get(60, TimeUnit.SECONDS);
        pool.shutdown();
        return threads * calls + " answers, each the caller's own";
    }

    /** One-way requests arrive in their own time, and each once. */
    static String counted(int want, Callable<Integer> count) throws Exception {
        long start = System.nanoTime();
        while (count.call() < want && Steps.millisSince(start) < 5000) Services.sleep(10);
        equal(want, count.call());
        return want + " sent, " + want + " counted by the server";
    }

    /**
     * The server dies: the next calls fail at once, in the client's own terms, with the proxy's
     * reason, in every serialization.
     */
    static void gone(Steps steps, Map<String, Caller> callers) {
        callers.forEach((name, caller) -> steps.step("before " + name, () -> {
            String sent = Steps.nonce();
            equal(sent, caller.echo(sent));
            return "answered";
        }));
        steps.step("gone", () -> {
            Steps.await("gone");
            return "killed";
        });
        callers.forEach((name, caller) -> steps.step("gone " + name, () -> {
            refused(caller);
            return refused(caller);
        }));
    }

    private static String refused(Caller caller) {
        long start = System.nanoTime();
        Throwable t = Steps.thrown(Exception.class, () -> caller.echo("anybody there?"));
        long took = Steps.millisSince(start);
        String all = Steps.messages(t);
        check(all.contains(PROXY), all);
        check(took < 2000, took + " ms");
        return t.getClass().getSimpleName() + ": " + all.substring(all.indexOf(PROXY));
    }

    /** The server restarts under load: errors only with the proxy's reason, never another's answer. */
    static void restart(Steps steps, Caller caller) {
        steps.step("restart", () -> {
            AtomicInteger right = new AtomicInteger();
            AtomicInteger sent = new AtomicInteger();
            AtomicBoolean stop = new AtomicBoolean();
            Map<String, Integer> errors = new TreeMap<>();
            List<String> wrong = new ArrayList<>();
            ExecutorService pool = Executors.newFixedThreadPool(16);
            List<Future<?>> all = new ArrayList<>();
            for (int t = 0; t < 16; t++) {
                all.add(pool.submit(() -> {
                    while (!stop.get()) {
                        String text = Steps.text(100);
                        sent.incrementAndGet();
                        try {
                            String back = caller.echo(text);
                            if (text.equals(back)) {
                                right.incrementAndGet();
                            } else {
                                synchronized (errors) {
                                    wrong.add(back);
                                }
                            }
                        } catch (Exception e) {
                            String kind = Steps.messages(e);
                            synchronized (errors) {
                                if (kind.contains(PROXY)) {
                                    errors.merge(e.getClass().getSimpleName(), 1, Integer::sum);
                                } else {
                                    wrong.add(kind);
                                }
                            }
                            // As a caller would: not at once again.
                            Services.sleep(5);
                        }
                    }
                }));
            }
            until(right, 500);
            Steps.await("restart");
            until(right, right.get() + 500);
            stop.set(true);
            // A call that hangs fails here.
            for (Future<?> one : all) one.get(15, TimeUnit.SECONDS);
            pool.shutdown();
            synchronized (errors) {
                check(wrong.isEmpty(), wrong.size() + " wrong, the first: " + (wrong.isEmpty() ? "" : wrong.get(0)));
                int failed = errors.values().stream().mapToInt(Integer::intValue).sum();
                equal(sent.get(), right.get() + failed);
                return right + " right, 0 wrong, refused " + errors;
            }
        });
    }

    private static void until(AtomicInteger count, int wanted) {
        long start = System.nanoTime();
        while (count.get() < wanted && Steps.millisSince(start) < 30_000) Services.sleep(10);
        check(count.get() >= wanted, count + " right answers in 30 s");
    }
}

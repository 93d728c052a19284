import java.io.IOException;
import java.io.OutputStream;
import java.net.ConnectException;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;

/** Asks Server for everything that it has, and somebody who isn't there; says "done". */
public class Client {
    static void check(boolean holds, String what) {
        if (!holds) {
            throw new IllegalStateException(what);
        }
    }

    static void post(String url, byte[] data) {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(url))
            .POST(HttpRequest.BodyPublishers.ofByteArray(data)).build();
        List<CompletableFuture<HttpResponse<byte[]>>> answers = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            answers.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray()));
        }
        for (CompletableFuture<HttpResponse<byte[]>> answer : answers) {
            check(Arrays.equals(answer.join().body(), data), "what was posted comes back");
        }
    }

    static void echo(String host, int port, byte[] data) throws Exception {
        try (Socket socket = new Socket(host, port)) {
            socket.setTcpNoDelay(true);
            socket.setSoTimeout(50);
            try {
                socket.getInputStream().read();
                check(false, "a time-out");
            } catch (SocketTimeoutException expected) {
                socket.setSoTimeout(0);
            }
            Thread writer = new Thread(() -> {
                try {
                    OutputStream output = socket.getOutputStream();
                    output.write(data);
                    socket.shutdownOutput();
                } catch (IOException error) {
                    throw new IllegalStateException(error);
                }
            });
            writer.start();
            check(Arrays.equals(socket.getInputStream().readAllBytes(), data), "the echo is right");
            writer.join();
        }
    }

    public static void main(String[] words) throws Exception {
        byte[] data = new byte[300_000];
        new Random(5).nextBytes(data);
        post("http://" + words[0] + ":" + words[1] + "/", data);
        echo(words[0], Integer.parseInt(words[2]), data);
        try {
            new Socket(words[0], 9).close();
            check(false, "a refusal");
        } catch (ConnectException expected) {
            System.out.println("done");
        }
    }
}

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * The job in Kafka Streams, exactly once: {@code Job BOOTSTRAP FOLDER rocksdb|memory}. The rules are those of README.md,
 * written down a second time, so that this and {@code job.py} check each other.
 */
public final class Job {
    static final int PARTITIONS = 8, SEEN = 64, CARTS = 8;
    static final double BIAS = -2.1, THRESHOLD = 0.8472978603872036, LARGE = 300.0;
    static final double[] WEIGHTS = {0.11, 0.0006, 0.03, 0.45, 0.02, -0.01, 0.004, 0.12, 0.9, 0.001, 0.05, -0.002};
    static final long LIKELY_COOL_DOWN = 60_000, BIG_COOL_DOWN = 120_000;

    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Identifier {
        public String value;
    }

    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Product {
        public double price;
        public int quantity = 1;
    }

    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Data {
        public Product product;
        public String cart_id;
        public double revenue;
        public List<Product> lines = List.of();
    }

    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Touch {
        public String id;
        public String type;
        public long time;
        public List<Identifier> identifiers;
        public Data data;
    }

    public record Trigger(String play, String customer, String touchpoint, long time, double score) {}

    static final ObjectMapper MAPPER = new ObjectMapper();
    static final ObjectReader READER = MAPPER.readerFor(Touch.class);
    static final ObjectWriter WRITER = MAPPER.writerFor(Trigger.class);

    static Touch read(byte[] value) {
        try {
            return READER.readValue(value);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** What is kept of a customer: money in cents, times in ms. */
    static final class Profile {
        List<String> seen = new ArrayList<>();
        long firstSeen, spent, lastOrder, likelyAt = Long.MIN_VALUE, bigAt = Long.MIN_VALUE;
        int orders, units;
        List<String> carts = new ArrayList<>();

        static byte[] write(Profile profile) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);
            try (DataOutputStream out = new DataOutputStream(bytes)) {
                texts(out, profile.seen);
                texts(out, profile.carts);
                for (long each : new long[] {profile.firstSeen, profile.spent, profile.lastOrder, profile.likelyAt, profile.bigAt}) {
                    out.writeLong(each);
                }
                out.writeInt(profile.orders);
                out.writeInt(profile.units);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            return bytes.toByteArray();
        }

        static Profile read(byte[] bytes) {
            Profile profile = new Profile();
            try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
                profile.seen = texts(in);
                profile.carts = texts(in);
                profile.firstSeen = in.readLong();
                profile.spent = in.readLong();
                profile.lastOrder = in.readLong();
                profile.likelyAt = in.readLong();
                profile.bigAt = in.readLong();
                profile.orders = in.readInt();
                profile.units = in.readInt();
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
            return profile;
        }

        private static void texts(DataOutputStream out, List<String> texts) throws IOException {
            out.writeShort(texts.size());
            for (String text : texts) {
                out.writeUTF(text);
            }
        }

        private static List<String> texts(DataInputStream in) throws IOException {
            int size = in.readShort();
            List<String> texts = new ArrayList<>(size + 1);
            for (int i = 0; i < size; i++) {
                texts.add(in.readUTF());
            }
            return texts;
        }

        /** Fold a touchpoint in; the trigger that follows, if one does. Null for a duplicate, too. */
        Trigger apply(String customer, Touch touch) {
            if (firstSeen == 0) {
                firstSeen = touch.time;
            }
            switch (touch.type) {
                case "Signed In":
                    return null;
                case "Order Completed":
                    orders++;
                    spent += Math.round(touch.data.revenue * 100);
                    for (Product line : touch.data.lines) {
                        units += line.quantity;
                    }
                    lastOrder = touch.time;
                    carts.clear();
                    if (touch.data.revenue < LARGE || (bigAt != Long.MIN_VALUE && touch.time - bigAt < BIG_COOL_DOWN)) {
                        return null;
                    }
                    bigAt = touch.time;
                    return new Trigger("big_order", customer, touch.id, touch.time, 0.5);
                default:
                    if (touch.type.equals("Product Added") && !carts.contains(touch.data.cart_id)) {
                        carts.add(touch.data.cart_id);
                        if (carts.size() > CARTS) {
                            carts.remove(0);
                        }
                    }
                    double score = 1 / (1 + Math.exp(-logOdds(touch)));
                    if (score < 0.7 || (likelyAt != Long.MIN_VALUE && touch.time - likelyAt < LIKELY_COOL_DOWN)) {
                        return null;
                    }
                    likelyAt = touch.time;
                    return new Trigger("likely_buyer", customer, touch.id, touch.time, score);
            }
        }

        private double logOdds(Touch touch) {
            double spend = spent / 100.0;
            Product product = touch.data.product;
            double[] features = {
                orders,
                spend,
                units,
                carts.size(),
                (touch.time - firstSeen) / 60_000.0,
                lastOrder == 0 ? 0 : (touch.time - lastOrder) / 60_000.0,
                product.price,
                product.quantity,
                touch.type.equals("Product Added") ? 1 : 0,
                orders == 0 ? 0 : spend / orders,
                orders == 0 ? 0 : (double) units / orders,
                product.price / (1 + spend),
            };
            double z = BIAS;
            for (int i = 0; i < features.length; i++) {
                z += WEIGHTS[i] * features[i];
            }
            return z;
        }

        boolean isNew(String id) {
            if (seen.contains(id)) {
                return false;
            }
            seen.add(id);
            if (seen.size() > SEEN) {
                seen.remove(0);
            }
            return true;
        }
    }

    /** Gives a touchpoint to the customer who signed in last on its device. */
    static final class Attribute implements Processor<String, byte[], String, byte[]> {
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, String> owners;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            this.context = context;
            owners = context.getStateStore("owners");
        }

        @Override
        public void process(Record<String, byte[]> record) {
            Touch touch = read(record.value());
            String owner = owners.get(record.key());
            if (touch.type.equals("Signed In")) {
                String customer = touch.identifiers.get(1).value;
                if (!customer.equals(owner)) {
                    owners.put(record.key(), customer);
                    owner = customer;
                }
            }
            context.forward(record.withKey(owner));
        }
    }

    /** Profiles, and what follows from them. */
    static final class Decide implements Processor<String, byte[], String, byte[]> {
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, Profile> profiles;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            this.context = context;
            profiles = context.getStateStore("profiles");
        }

        @Override
        public void process(Record<String, byte[]> record) {
            Touch touch = read(record.value());
            Profile profile = profiles.get(record.key());
            if (profile == null) {
                profile = new Profile();
            }
            if (!profile.isNew(touch.id)) {
                return;
            }
            Trigger trigger = profile.apply(record.key(), touch);
            profiles.put(record.key(), profile);
            if (trigger != null) {
                try {
                    context.forward(record.withValue(WRITER.writeValueAsBytes(trigger)));
                } catch (IOException error) {
                    throw new UncheckedIOException(error);
                }
            }
        }
    }

    static <V> StoreBuilder<KeyValueStore<String, V>> store(String kind, String name, Serde<V> serde) {
        boolean memory = kind.equals("memory");
        KeyValueBytesStoreSupplier supplier = memory ? Stores.inMemoryKeyValueStore(name) : Stores.persistentKeyValueStore(name);
        return Stores.keyValueStoreBuilder(supplier, Serdes.String(), serde).withCachingEnabled();
    }

    static Topology topology(String kind) {
        Serde<Profile> profiles =
                Serdes.serdeFrom((topic, profile) -> profile == null ? null : Profile.write(profile), (topic, bytes) -> bytes == null ? null : Profile.read(bytes));
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(store(kind, "owners", Serdes.String()));
        builder.addStateStore(store(kind, "profiles", profiles));
        builder.stream("peers.touchpoints", Consumed.with(Serdes.String(), Serdes.ByteArray()))
                .process(Attribute::new, "owners")
                .repartition(Repartitioned.with(Serdes.String(), Serdes.ByteArray()).withNumberOfPartitions(PARTITIONS).withName("customer"))
                .process(Decide::new, "profiles")
                .to("peers.triggers", Produced.with(Serdes.String(), Serdes.ByteArray()));
        return builder.build();
    }

    public static void main(String[] arguments) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "peers.kafka-streams");
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, arguments[1]);
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 128L << 20);
        properties.put(StreamsConfig.producerPrefix("linger.ms"), 20);
        properties.put(StreamsConfig.producerPrefix("batch.size"), 256 << 10);
        properties.put(StreamsConfig.consumerPrefix("max.poll.records"), 5_000);
        properties.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        KafkaStreams streams = new KafkaStreams(topology(arguments[2]), properties);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                System.out.println("ready");
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
    }
}

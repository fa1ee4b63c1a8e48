// franz-go. Usage: flights produce BROKER TOPIC CODEC | consume BROKER TOPIC
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func main() {
	var err error
	switch arguments := os.Args[1:]; arguments[0] {
	case "produce":
		err = produce(arguments[1], arguments[2], arguments[3])
	case "consume":
		err = consume(arguments[1], arguments[2])
	default:
		err = fmt.Errorf("no %s here", arguments[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func produce(broker, topic, codec string) error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker),
		kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(codecs[codec]),
		kgo.ProducerLinger(20*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	failures := make(chan error, 1)
	rows := bufio.NewScanner(os.Stdin)
	rows.Buffer(nil, 1<<20)
	for rows.Scan() {
		key, value, _ := bytes.Cut(bytes.Clone(rows.Bytes()), []byte("\t"))
		record := &kgo.Record{Value: value}
		if len(key) > 0 {
			record.Key = key
		}
		client.Produce(ctx, record, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failures <- err:
				default:
				}
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-failures:
		return err
	default:
		return rows.Err()
	}
}

func consume(broker, topic string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	ends, err := endOffsets(ctx, broker, topic)
	if err != nil {
		return err
	}
	starts := map[int32]kgo.Offset{}
	for partition := range ends {
		starts[partition] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	out := bufio.NewWriter(os.Stdout)
	for partition, end := range ends {
		if end == 0 {
			delete(ends, partition)
		}
	}
	for len(ends) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(record *kgo.Record) {
			out.Write(record.Key)
			out.WriteByte('\t')
			out.Write(record.Value)
			out.WriteByte('\n')
			if record.Offset+1 >= ends[record.Partition] {
				delete(ends, record.Partition)
			}
		})
	}
	return out.Flush()
}

// The end of each partition, asked for with bare requests.
func endOffsets(ctx context.Context, broker, topic string) (map[int32]int64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	metadata := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = kmsg.StringPtr(topic)
	metadata.Topics = append(metadata.Topics, asked)
	found, err := metadata.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	request := kmsg.NewPtrListOffsetsRequest()
	listed := kmsg.NewListOffsetsRequestTopic()
	listed.Topic = topic
	for _, partition := range found.Topics[0].Partitions {
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp = partition.Partition, -1
		listed.Partitions = append(listed.Partitions, one)
	}
	request.Topics = append(request.Topics, listed)
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	for _, partition := range answer.Topics[0].Partitions {
		if partition.ErrorCode != 0 {
			return nil, fmt.Errorf("code %d for partition %d", partition.ErrorCode, partition.Partition)
		}
		ends[partition.Partition] = partition.Offset
	}
	return ends, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What is read and not yet committed: it stays so until it is accepted or its partition is gone.
type franzMember struct {
	asked   ask
	mutex   sync.Mutex
	pending map[int32]int64
}

func franz(asked ask, told <-chan struct{}) {
	member := &franzMember{asked: asked, pending: map[int32]int64{}}
	options := []kgo.Opt{
		kgo.SeedBrokers(asked.Broker),
		kgo.ClientID(asked.Name),
		kgo.ConsumerGroup(asked.Group),
		kgo.ConsumeTopics(asked.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(milliseconds(asked.Session)),
		kgo.HeartbeatInterval(milliseconds(asked.Heartbeat)),
		kgo.RebalanceTimeout(milliseconds(asked.Poll)),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.MetadataMaxAge(time.Second),
		kgo.FetchMaxWait(200 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, more map[string][]int32) {
			sayPartitions("assigned", more[asked.Topic])
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, client *kgo.Client, gone map[string][]int32) {
			member.commit(client)
			member.gone("revoked", gone[asked.Topic])
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
			member.gone("lost", gone[asked.Topic])
		}),
	}
	if asked.Protocol == "consumer" {
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
	} else {
		balancers := map[string]kgo.GroupBalancer{
			"range":              kgo.RangeBalancer(),
			"roundrobin":         kgo.RoundRobinBalancer(),
			"cooperative-sticky": kgo.CooperativeStickyBalancer(),
		}
		options = append(options, kgo.Balancers(balancers[asked.Assignor]))
	}
	if asked.Instance != nil {
		options = append(options, kgo.InstanceID(*asked.Instance))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		fail(err)
	}
	for {
		select {
		case <-told:
			client.CloseAllowingRebalance()
			return
		default:
		}
		member.turn(client)
	}
}

func (member *franzMember) turn(client *kgo.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	found := client.PollRecords(ctx, 100)
	defer client.AllowRebalance()
	found.EachError(func(_ string, _ int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) {
			say("trouble", fields{"text": err.Error()})
		}
	})
	_, generation := client.GroupMetadata()
	member.mutex.Lock()
	found.EachPartition(func(part kgo.FetchTopicPartition) {
		var offsets []int64
		for _, record := range part.Records {
			offsets = append(offsets, record.Offset)
		}
		if len(offsets) > 0 {
			sayRead(part.Partition, offsets, generation)
			member.pending[part.Partition] = offsets[len(offsets)-1] + 1
		}
	})
	member.mutex.Unlock()
	member.commit(client)
}

func (member *franzMember) commit(client *kgo.Client) {
	member.mutex.Lock()
	defer member.mutex.Unlock()
	if len(member.pending) == 0 {
		return
	}
	wanted := map[int32]kgo.EpochOffset{}
	for partition, offset := range member.pending {
		wanted[partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	named := kgo.PreCommitFnContext(ctx, func(request *kmsg.OffsetCommitRequest) error {
		for topic := range request.Topics {
			parts := request.Topics[topic].Partitions
			for part := range parts {
				parts[part].Metadata = &member.asked.Name
			}
		}
		return nil
	})
	topics := map[string]map[int32]kgo.EpochOffset{member.asked.Topic: wanted}
	client.CommitOffsetsSync(named, topics, func(
		_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error,
	) {
		outcomes := map[int32]error{}
		for partition := range wanted {
			outcomes[partition] = err
		}
		if err == nil {
			for partition := range wanted {
				outcomes[partition] = fmt.Errorf("no answer")
			}
			for _, topic := range response.Topics {
				for _, part := range topic.Partitions {
					outcomes[part.Partition] = kerr.ErrorForCode(part.ErrorCode)
				}
			}
		}
		for partition, outcome := range outcomes {
			if outcome == nil {
				delete(member.pending, partition)
			}
			sayCommit(partition, wanted[partition].Offset, outcome)
		}
	})
}

func (member *franzMember) gone(event string, partitions []int32) {
	member.mutex.Lock()
	defer member.mutex.Unlock()
	for _, partition := range partitions {
		delete(member.pending, partition)
	}
	sayPartitions(event, partitions)
}

package main

import (
	"context"
	"time"

	"github.com/IBM/sarama"
)

// It is told of no outcome of a commit, so it writes none.
type saramaMember struct {
	asked ask
}

func saramas(asked ask, told <-chan struct{}) {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.ClientID = asked.Name
	config.Consumer.Return.Errors = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.MaxWaitTime = 200 * time.Millisecond
	config.Consumer.Group.Session.Timeout = milliseconds(asked.Session)
	config.Consumer.Group.Heartbeat.Interval = milliseconds(asked.Heartbeat)
	config.Consumer.Group.Rebalance.Timeout = milliseconds(asked.Session)
	config.Consumer.Group.Rebalance.Retry.Backoff = 200 * time.Millisecond
	config.Metadata.Retry.Backoff = 100 * time.Millisecond
	config.Metadata.RefreshFrequency = time.Second
	strategies := map[string]sarama.BalanceStrategy{
		"range":      sarama.NewBalanceStrategyRange(),
		"roundrobin": sarama.NewBalanceStrategyRoundRobin(),
	}
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategies[asked.Assignor]}
	if asked.Instance != nil {
		config.Consumer.Group.InstanceId = *asked.Instance
	}
	group, err := sarama.NewConsumerGroup([]string{asked.Broker}, asked.Group, config)
	if err != nil {
		fail(err)
	}
	go func() {
		for err := range group.Errors() {
			say("trouble", fields{"text": err.Error()})
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-told
		cancel()
	}()
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{asked.Topic}, &saramaMember{asked}); err != nil {
			say("trouble", fields{"text": err.Error()})
			time.Sleep(100 * time.Millisecond)
		}
	}
	if err := group.Close(); err != nil {
		say("trouble", fields{"text": err.Error()})
	}
}

func (member *saramaMember) Setup(session sarama.ConsumerGroupSession) error {
	sayPartitions("assigned", session.Claims()[member.asked.Topic])
	return nil
}

func (member *saramaMember) Cleanup(session sarama.ConsumerGroupSession) error {
	session.Commit()
	sayPartitions("revoked", session.Claims()[member.asked.Topic])
	return nil
}

func (member *saramaMember) ConsumeClaim(
	session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim,
) error {
	// What could not be committed is tried again.
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case record, isOpen := <-claim.Messages():
			if !isOpen {
				return nil
			}
			offsets := []int64{record.Offset}
			for more := true; more && len(offsets) < 100; {
				select {
				case record, isOpen := <-claim.Messages():
					if more = isOpen; isOpen {
						offsets = append(offsets, record.Offset)
					}
				default:
					more = false
				}
			}
			sayRead(claim.Partition(), offsets, session.GenerationID())
			next := offsets[len(offsets)-1] + 1
			session.MarkOffset(claim.Topic(), claim.Partition(), next, member.asked.Name)
			session.Commit()
		case <-again.C:
			session.Commit()
		case <-session.Context().Done():
			return nil
		}
	}
}

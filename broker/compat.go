package broker

import "hearth/broker/topic"

func matches(f, t string) bool                { return topic.Match(f, t) }
func topicFault(s string, filter bool) string { return topic.Fault(s, filter, 1024, 32) }

// Package topic knows MQTT's topics and filters: which are valid, which match
// which, and how to find all that match among many.
package topic

"""Native histograms that something computes with: read from payloads into rows, added, compared, written again."""

"""The policy: backbone, action decoder, flow, artifact and acting."""

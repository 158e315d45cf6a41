"""From bodies to arrays to answers; numpy and ONNX Runtime only."""
